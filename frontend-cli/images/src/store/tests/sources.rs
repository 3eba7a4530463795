//! Every kind of source, and which image of it is taken.

use std::{
    fs::{self, File},
    os::unix::fs::PermissionsExt,
};

use super::*;
use crate::{
    Descriptor, PathKind,
    erofs::Writer,
    layer::Root,
    source::{Directory, DockerArchive, Members},
    testing::{TestImage, blob, extract, gzip, index, pack, tar, zstd},
};

#[test]
fn a_layout_its_archive_and_a_packed_archive_are_the_same_image() {
    let place = Place::new();
    layout(&place.path("layout"));
    pack(&place.path("layout"), &place.path("archive.tar"));
    let bytes = fs::read(place.path("archive.tar")).unwrap();
    fs::write(place.path("archive.tgz"), gzip(&bytes)).unwrap();
    fs::write(place.path("archive.zst"), zstd(&bytes)).unwrap();
    let first = place.import("layout").unwrap();
    check_image(&first);
    for name in ["archive.tar", "archive.tgz", "archive.zst"] {
        let image = place.import(name).unwrap();
        assert_eq!((image.digest, image.root()), (first.digest, first.root()));
    }
    let listed = place.store.list().unwrap();
    assert_eq!(listed.len(), 4);
    assert!(listed.iter().all(|one| one.complete && one.digest == first.digest && one.size > 0));
    assert_eq!(listed[0].created.as_deref(), Some("2024-01-02T03:04:05Z"));
}

fn docker(place: &Place, name: &str, old: bool, pack_layers: bool) {
    let image = TestImage::new("amd64", &layers());
    let config = image.config();
    let digest = Digest::of(&config).hex();
    let mut members = Vec::new();
    let mut names = Vec::new();
    for (packed, archive) in &image.layers {
        let hex = Digest::of(archive).hex();
        let name = if old { format!("{hex}/layer.tar") } else { format!("blobs/sha256/{hex}") };
        members.push((name.clone(), if pack_layers { packed.clone() } else { archive.clone() }));
        names.push(name);
    }
    let config_name = if old { format!("{digest}.json") } else { format!("blobs/sha256/{digest}") };
    members.push((config_name.clone(), config));
    let manifest = serde_json::json!([{"Config": config_name, "RepoTags": ["test:1"], "Layers": names}]);
    members.push(("manifest.json".to_owned(), serde_json::to_vec(&manifest).unwrap()));
    let bytes = tar(|tar| {
        members.iter().for_each(|(name, data)| {
            let (folder, _) = name.rsplit_once('/').unwrap_or_default();
            if !folder.is_empty() {
                tar.directory(folder);
            }
            tar.file(name, data);
        });
    });
    fs::write(place.path(name), bytes).unwrap();
}

#[test]
fn both_forms_of_docker_archives_are_images() {
    let place = Place::new();
    for (name, old, packed) in [("old", true, false), ("new", false, false), ("packed", false, true)] {
        docker(&place, name, old, packed);
        assert_eq!(PathKind::of(&place.path(name)).unwrap(), PathKind::DockerArchive);
        check_image(&place.import(name).unwrap());
    }
    // A layer that is a link to another's, as Dockers wrote it; and one out of the archive.
    let image = TestImage::new("amd64", &layers()[..1]);
    for (target, cause) in [("../a/layer.tar", None), ("../../layer.tar", Some("not in the archive"))] {
        let manifest = r#"[{"Config": "c.json", "Layers": ["b/layer.tar"]}]"#.as_bytes();
        let bytes = tar(|tar| {
            tar.file("manifest.json", manifest).file("blobs/x", b"").symlink("b/layer.tar", target);
            tar.file("a/layer.tar", &image.layers[0].1).file("c.json", &image.config());
        });
        let members = |bytes: &[u8]| {
            fs::write(place.path("links"), bytes).unwrap();
            Members::list(File::open(place.path("links")).unwrap()).unwrap()
        };
        let mut source = DockerArchive::new(members(&bytes), None);
        let result = place.store.pull("test:links", &mut source, ARCHITECTURE, &mut Quiet);
        match cause {
            None => drop(result.unwrap()),
            Some(cause) => assert!(format!("{:#}", result.unwrap_err()).contains(cause)),
        }
    }
}

#[test]
fn a_directory_and_tars_of_a_root_are_images() {
    let place = Place::new();
    let root = place.path("root");
    fs::create_dir_all(root.join("etc")).unwrap();
    fs::create_dir_all(root.join("bin")).unwrap();
    fs::write(root.join("etc/name"), b"upper").unwrap();
    fs::hard_link(root.join("etc/name"), root.join("etc/again")).unwrap();
    std::os::unix::fs::symlink("y", root.join("x")).unwrap();
    let sparse = File::create(root.join("sparse")).unwrap();
    sparse.set_len(100 << 20).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"end", (100 << 20) - 3).unwrap();
    drop(sparse);
    rustix::fs::mkfifoat(rustix::fs::CWD, root.join("pipe"), 0o600.into()).unwrap();
    let directory = place.import("root").unwrap();
    check_root(&directory);
    if let Some(folder) = extract(directory.root()) {
        let read = fs::read(folder.path().join("sparse")).unwrap();
        assert_eq!(&read[read.len() - 4..], b"\0end");
    }
    assert!(files::allocated(&directory.root().metadata().unwrap()) < 1 << 20);
    pack(&place.path("root"), &place.path("root.tar"));
    let bytes = fs::read(place.path("root.tar")).unwrap();
    fs::write(place.path("root.tar.gz"), gzip(&bytes)).unwrap();
    // Frames, one to be skipped among them.
    let (one, two) = bytes.split_at(1000);
    let skipped = [&b"\x50\x2a\x4d\x18\x03\0\0\0"[..], b"xyz"].concat();
    fs::write(place.path("root.zst"), [&skipped[..], &zstd(one), &skipped, &zstd(two), &skipped].concat())
        .unwrap();
    for name in ["root.tar", "root.tar.gz", "root.zst"] {
        assert_eq!(PathKind::of(&place.path(name)).unwrap(), PathKind::Tar);
        check_root(&place.import(name).unwrap());
    }
    let count = place.files().len();
    // Again: nothing new. And a change is seen.
    assert_eq!(place.import("root").unwrap().digest, directory.digest);
    assert_eq!(place.files().len(), count);
    fs::write(root.join("etc/name"), b"UPPER").unwrap();
    assert_ne!(place.import("root").unwrap().digest, directory.digest);
    fs::write(place.path("root.tar"), tar(|tar| drop(tar.file("other", b"").finish()))).unwrap();
    let other = place.import("root.tar").unwrap();
    assert_ne!(other.digest, directory.digest);
    assert_eq!(place.store.list().unwrap().len(), 4);
}

#[test]
fn a_directory_keeps_owners_modes_and_attributes() {
    let place = Place::new();
    let root = place.path("root");
    fs::create_dir(&root).unwrap();
    fs::write(root.join("file"), b"1").unwrap();
    fs::set_permissions(root.join("file"), fs::Permissions::from_mode(0o6751)).unwrap();
    let attribute =
        rustix::fs::setxattr(root.join("file"), "user.x", b"y", rustix::fs::XattrFlags::empty()).is_ok();
    let owner = std::os::unix::fs::chown(root.join("file"), Some(12), Some(34)).is_ok();
    if owner {
        fs::set_permissions(root.join("file"), fs::Permissions::from_mode(0o6751)).unwrap();
        let device = rustix::fs::makedev(1, 3);
        let _ = rustix::fs::mknodat(
            rustix::fs::CWD,
            root.join("null"),
            rustix::fs::FileType::CharacterDevice,
            0o666.into(),
            device,
        );
    } else {
        eprintln!("skipped in part: only root gives files away");
    }
    let limits = Limits::default();
    let mut unpacked = Root::new(Writer::new(tempfile::tempfile().unwrap()).unwrap(), &limits);
    Directory::new(&root, &limits).unpack(&mut unpacked, &mut Quiet).unwrap();
    let found = crate::testing::listing(unpacked.parts().0);
    let file = &found["/file"];
    assert!(file.starts_with("file 1 6751"), "{file}");
    assert!(!owner || file.contains("12:34"), "{file}");
    assert!(!attribute || file.contains("user.x=y"), "{file}");
    if root.join("null").exists() {
        assert!(found["/null"].starts_with("character 1:3"), "{}", found["/null"]);
    }
}

#[test]
fn other_files_are_no_images() {
    let place = Place::new();
    fs::write(place.path("disk.qcow2"), [&b"QFI\xfb"[..], &[0; 4096]].concat()).unwrap();
    fs::write(place.path("empty"), b"").unwrap();
    fs::write(place.path("x.tar.xz"), b"\xfd7zXZ\0rest").unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, place.path("pipe"), 0o600.into()).unwrap();
    for (name, cause) in [
        ("disk.qcow2", "neither a root nor an archive"),
        ("empty", "neither a root nor an archive"),
        ("x.tar.xz", "unxz"),
        ("pipe", "no regular file"),
        ("none", "No such file"),
    ] {
        let error = place.error(name);
        assert!(error.contains(cause) && error.contains(name), "{error}");
    }
    assert_eq!(place.files(), Vec::<String>::new());
}

#[test]
fn the_image_of_the_architecture_is_taken() {
    let place = Place::new();
    let path = place.path("layout");
    let platform = |mut descriptor: Descriptor, architecture: &str, variant: Option<&str>| {
        let variant = variant.map(str::to_owned);
        descriptor.platform =
            Some(crate::Platform { os: "linux".into(), architecture: architecture.into(), variant });
        descriptor
    };
    let amd = TestImage::new("amd64", &layers());
    let arm = TestImage::new("arm64", &layers()[..1]);
    let mut statement = platform(blob(&path, "x", b"{}"), "unknown", None);
    statement.platform.as_mut().unwrap().os = "unknown".into();
    let manifests = [
        statement,
        platform(arm.write(&path), "arm64", Some("v8")),
        platform(amd.write(&path), "amd64", None),
    ];
    let inner = serde_json::json!({"schemaVersion": 2, "manifests": manifests});
    let inner = blob(&path, crate::manifest::OCI_INDEX, &serde_json::to_vec(&inner).unwrap());
    index(&path, std::slice::from_ref(&inner));
    let import = |architecture| place.store.import(&path, Some("test:1"), architecture, &mut Quiet);
    let x86 = import(Architecture::X86_64).unwrap();
    let aarch64 = import(Architecture::Aarch64).unwrap();
    check_image(&x86);
    assert_ne!(x86.digest, aarch64.digest);
    let names: Vec<_> = place.store.list().unwrap().into_iter().map(|one| one.architecture).collect();
    assert_eq!(names, [Architecture::X86_64, Architecture::Aarch64]);
    for architecture in [Architecture::X86_64, Architecture::Aarch64] {
        let found = place.store.find("docker.io/library/test:1", architecture).unwrap().unwrap();
        assert_eq!(found.architecture, architecture);
    }
    // What an index does not say, configurations do.
    let plain: Vec<_> =
        manifests.into_iter().skip(1).map(|one| Descriptor { platform: None, ..one }).collect();
    index(&path, &plain);
    assert_eq!(import(Architecture::Aarch64).unwrap().digest, aarch64.digest);
    index(&path, &plain[..1]);
    let error = format!("{:#}", import(Architecture::X86_64).unwrap_err());
    assert!(error.contains("no image for linux/amd64: there is linux/arm64"), "{error}");
    // An index that has itself in it cannot be made; a deep one can.
    let mut deep = inner;
    for _ in 0..5 {
        let index = serde_json::json!({"schemaVersion": 2, "manifests": [deep]});
        deep = blob(&path, crate::manifest::OCI_INDEX, &serde_json::to_vec(&index).unwrap());
    }
    index(&path, &[deep]);
    let error = format!("{:#}", import(Architecture::X86_64).unwrap_err());
    assert!(error.contains("indexes inside one another"), "{error}");
}

#[test]
fn one_of_several_images_is_taken_by_name() {
    let place = Place::new();
    let path = place.path("layout");
    let named = |layers: &[Vec<u8>], name: &str| {
        let mut descriptor = TestImage::new("amd64", layers).write(&path);
        let annotation = ("org.opencontainers.image.ref.name".to_owned(), name.to_owned());
        descriptor.annotations = Some([annotation].into());
        descriptor
    };
    let (one, two) = (named(&layers(), "one"), named(&layers()[..1], "two"));
    index(&path, &[one.clone(), two.clone()]);
    let import = |name| place.store.import(&path, name, ARCHITECTURE, &mut Quiet);
    assert_eq!(import(Some("test:one")).unwrap().digest, one.digest);
    assert_eq!(import(Some("test:two")).unwrap().digest, two.digest);
    for name in [Some("test:three"), None] {
        let error = format!("{:#}", import(name).unwrap_err());
        assert!(error.contains("one, two"), "{error}");
    }
}

#[test]
fn a_selected_image_gets_another_name() {
    let place = Place::new();
    let path = place.path("layout");
    let named = |layers: &[Vec<u8>], key: &str, name: &str| {
        let mut descriptor = TestImage::new("amd64", layers).write(&path);
        descriptor.annotations = Some([(key.to_owned(), name.to_owned())].into());
        descriptor
    };
    let one = named(&layers(), "org.opencontainers.image.ref.name", "one");
    let two = named(&layers()[..1], "io.containerd.image.name", "docker.io/library/two:latest");
    index(&path, &[one.clone(), two.clone()]);
    let select = |select: &str| place.store.import_selected(&path, "mine", select, ARCHITECTURE, &mut Quiet);
    for (word, expected) in
        [("one", &one), ("two", &two), (&*one.digest.to_string(), &one), ("two:latest", &two)]
    {
        assert_eq!(select(word).unwrap().digest, expected.digest, "{word}");
    }
    let found = place.store.find("mine", ARCHITECTURE).unwrap().unwrap();
    assert_eq!((found.reference.as_str(), found.digest), ("docker.io/library/mine:latest", two.digest));
    let error = format!("{:#}", select("three").unwrap_err());
    assert!(error.contains("no image three, but one, docker.io/library/two:latest"), "{error}");
    // The only one is not another one either.
    index(&path, std::slice::from_ref(&one));
    let error = format!("{:#}", select("two").unwrap_err());
    assert!(error.contains("no image two, but one"), "{error}");
    assert_eq!(select("one").unwrap().digest, one.digest);
    fs::create_dir(place.path("folder")).unwrap();
    let folder = place.store.import_selected(&place.path("folder"), "mine", "one", ARCHITECTURE, &mut Quiet);
    assert!(format!("{:#}", folder.unwrap_err()).contains("one root"));
}

#[test]
fn another_selection_of_an_archive_that_has_not_changed_is_another_image() {
    let place = Place::new();
    let path = place.path("two.tar");
    let config = |layers: &[Vec<u8>]| TestImage::new("amd64", layers).config();
    let (first, second) = (config(&layers()), config(&layers()[..1]));
    // Members of such archives are called by digests.
    let [one, two, lower, upper] = [1, 2, 3, 4].map(|number| format!("{number:064x}"));
    let manifest = serde_json::json!([
        {"Config": one, "RepoTags": ["app:1"], "Layers": [lower, upper]},
        {"Config": two, "RepoTags": ["app:2"], "Layers": [lower]},
    ]);
    let archive = tar(|writer| {
        writer.file("manifest.json", &serde_json::to_vec(&manifest).unwrap());
        writer.file(&one, &first).file(&two, &second);
        writer.file(&lower, &layers()[0]).file(&upper, &layers()[1]);
    });
    fs::write(&path, archive).unwrap();
    // Old enough that a change would show.
    fs::File::options().write(true).open(&path).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
    let select =
        |select: &str| place.store.import_selected(&path, "mine", select, ARCHITECTURE, &mut Quiet).unwrap();
    let (one, two) = (select("app:1").digest, select("app:2").digest);
    assert_ne!(one, two);
    assert_eq!((select("app:1").digest, select("app:2").digest), (one, two));
    let error = place.store.import_selected(&path, "mine", "app:3", ARCHITECTURE, &mut Quiet).unwrap_err();
    assert!(format!("{error:#}").contains("no image app:3, but app:1, app:2"), "{error:#}");
}
