//! The cache as its users see it: every kind of source, what is wrong with them, several processes at once.

use std::{
    collections::VecDeque,
    fs::{self, File},
    io::{self, BufRead, BufReader, Cursor, Read, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
};

use anyhow::{Result, anyhow};
use tempfile::TempDir;

use super::*;
use crate::{
    Descriptor, Document, Quiet,
    testing::{TestImage, blob, extract, gzip, index, pack, tar, zstd},
};

const ARCHITECTURE: Architecture = Architecture::X86_64;

struct Place {
    folder: TempDir,
    store: Store,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("store")).unwrap();
        Self { folder, store }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn import(&self, name: &str) -> Result<Image> {
        self.store.import(&self.path(name), None, ARCHITECTURE, &mut Quiet)
    }

    #[track_caller]
    fn error(&self, name: &str) -> String {
        format!("{:#}", self.import(name).unwrap_err())
    }

    /// Files of the cache, but for its lock.
    fn files(&self) -> Vec<String> {
        files_in(&self.path("store"))
    }
}

fn files_in(store: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for folder in ["blobs/sha256", "roots/sha256", "references", "tmp"] {
        found
            .extend(files::names(&store.join(folder)).unwrap().iter().map(|name| format!("{folder}/{name}")));
    }
    found
}

fn layers() -> Vec<Vec<u8>> {
    let lower = tar(|tar| drop(tar.file("etc/name", b"lower").file("bin/true", &[7; 100_000]).finish()));
    let upper =
        tar(|tar| drop(tar.file("etc/name", b"upper").file("bin/.wh.true", b"").symlink("x", "y").finish()));
    vec![lower, upper]
}

/// Checks that an image is the one of [`layers`].
fn check_image(image: &Image) {
    assert_eq!(image.config.command, ["/bin/true"]);
    assert_eq!(image.config.environment, ["A=b"]);
    check_root(image);
}

fn check_root(image: &Image) {
    let mut magic = [0; 1028];
    image.open_root().unwrap().read_exact(&mut magic).unwrap();
    assert_eq!(magic[1024..], 0xe0f5_e1e2_u32.to_le_bytes());
    assert_eq!(image.root().metadata().unwrap().permissions().mode() & 0o777, 0o400);
    if let Some(folder) = extract(image.root()) {
        assert_eq!(fs::read(folder.path().join("etc/name")).unwrap(), b"upper");
        assert!(!folder.path().join("bin/true").exists() && folder.path().join("bin").is_dir());
        assert_eq!(fs::read_link(folder.path().join("x")).unwrap(), Path::new("y"));
    }
}

fn layout(path: &Path) -> TestImage {
    let image = TestImage::new("amd64", &layers());
    index(path, &[image.write(path)]);
    image
}

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

/// Makes a layout that `change` breaks, and says what is wrong with it.
fn broken(change: impl FnOnce(&Path, &mut TestImage)) -> String {
    let place = Place::new();
    let path = place.path("layout");
    let mut image = TestImage::new("amd64", &layers());
    change(&path, &mut image);
    if !path.join("index.json").exists() {
        index(&path, &[image.write(&path)]);
        let before = image.layers[0].0.clone();
        fs::write(path.join("blobs/sha256").join(Digest::of(&before).hex()), before).unwrap();
    }
    let error = place.error("layout");
    assert_eq!(place.files(), Vec::<String>::new(), "an image that failed leaves nothing");
    assert!(!error.contains('\n') && error.len() < 1000, "{error}");
    error
}

#[test]
fn damaged_and_forged_layers_are_named() {
    let forged = |change: fn(&mut Vec<u8>)| {
        broken(|path, image| {
            index(path, &[image.write(path)]);
            let name = path.join("blobs/sha256").join(Digest::of(&image.layers[0].0).hex());
            let mut bytes = image.layers[0].0.clone();
            change(&mut bytes);
            fs::write(name, bytes).unwrap();
        })
    };
    let size = TestImage::new("amd64", &layers()).layers[0].0.len();
    assert!(forged(|bytes| bytes.truncate(100)).contains(&format!("ends after 100 bytes of {size}")));
    assert!(forged(|bytes| bytes.push(0)).contains(&format!("goes on after its {size} bytes")));
    let error = forged(|bytes| *bytes.last_mut().unwrap() ^= 1);
    assert_eq!(error.matches("sha256:").count(), 3, "{error}");
    assert!(error.contains("damaged or forged"), "{error}");
    let error = forged(|bytes| bytes[20] ^= 1);
    assert!(error.contains("damaged or forged"), "{error}");
    let error = broken(|_, image| image.layers[0].0.truncate(100));
    assert!(error.contains("layer sha256:"), "{error}");
    let error = broken(|_, image| image.layers[1].1[0] ^= 1);
    assert!(error.contains("unpacked") && error.contains("damaged or forged"), "{error}");
    let error = broken(|_, image| image.layers[0].0 = zstd(&image.layers[0].1)[..50].to_vec());
    assert!(error.contains("zstd"), "{error}");
}

#[test]
fn forged_documents_are_named() {
    let text = |name: &'static str, change: fn(&str) -> String| {
        broken(move |path, image| {
            let descriptor = image.write(path);
            index(path, std::slice::from_ref(&descriptor));
            let digest = match name {
                "manifest" => descriptor.digest,
                _ => Digest::of(&image.config()),
            };
            let file = path.join("blobs/sha256").join(digest.hex());
            fs::write(&file, change(&fs::read_to_string(&file).unwrap())).unwrap();
        })
    };
    for name in ["manifest", "config"] {
        let error = text(name, |text| text.replacen('2', "3", 1));
        assert!(error.contains("damaged or forged"), "{error}");
        let error = text(name, |text| format!("{text} "));
        assert!(error.contains("goes on after"), "{error}");
    }
    let index_json = |bytes: &'static [u8]| {
        broken(move |path, image| {
            index(path, &[image.write(path), blob(path, "", b"abc")]);
            fs::write(path.join("index.json"), bytes).unwrap();
        })
    };
    assert!(index_json(b"{").contains("index.json"));
    assert!(index_json(b"{\"schemaVersion\": 1}").contains("schema version 1"));
    assert!(index_json(b"{\"schemaVersion\": 2, \"manifests\": []}").contains("no image"));
    let huge = br#"{"schemaVersion": 2, "manifests": [{"size": 99999999999, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "digest": "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"}]}"#;
    assert!(index_json(huge).contains("99999999999"), "{}", index_json(huge));
    let error = broken(|path, image| {
        let layers: Vec<_> = (0..501).map(|_| blob(path, "x", b"")).collect();
        let config = blob(path, crate::manifest::OCI_CONFIG, &image.config());
        let manifest = serde_json::json!({"schemaVersion": 2, "config": config, "layers": layers});
        let media_type = crate::manifest::OCI_MANIFEST;
        index(path, &[blob(path, media_type, &serde_json::to_vec(&manifest).unwrap())]);
    });
    assert!(error.contains("an image of 501 layers"), "{error}");
}

#[test]
fn bombs_stop_at_the_limits() {
    let place = Place::new();
    let limits = Limits { layer_bytes: 1 << 20, image_bytes: 3 << 19, ..Limits::default() };
    let store = Store::open(&place.path("store")).unwrap().with_limits(limits);
    let path = place.path("layout");
    let big = |size: usize, name: &str| tar(|tar| drop(tar.file(name, &vec![0; size]).finish()));
    let error = |layers: &[Vec<u8>]| {
        index(&path, &[TestImage::new("amd64", layers).write(&path)]);
        let result = store.import(&path, None, ARCHITECTURE, &mut Quiet);
        format!("{:#}", result.expect_err("a limit"))
    };
    assert!(error(&[big(1 << 20, "a")]).contains("larger than the limit of 1048576 bytes"));
    let text = error(&[big(1 << 19, "a"), big(1 << 19, "b"), big(1 << 19, "c")]);
    assert!(text.contains("larger than the limit of"), "{text}");
    // Behind the archive's end it is packed data all the same.
    let mut behind = big(10, "a");
    behind.resize(2 << 20, 0);
    assert!(error(&[behind.clone()]).contains("larger than the limit of 1048576 bytes"));
    fs::write(place.path("bomb.gz"), gzip(&behind)).unwrap();
    let text = store.import(&place.path("bomb.gz"), None, ARCHITECTURE, &mut Quiet).unwrap_err();
    assert!(format!("{text:#}").contains("larger than the limit"), "{text:#}");
    assert_eq!(place.files(), Vec::<String>::new());
}

/// A source in memory that breaks off when it is told to, and counts what it is asked for.
struct Remote {
    manifest: Vec<u8>,
    blobs: Vec<Vec<u8>>,
    /// After how many bytes the next blobs break off.
    breaks: VecDeque<usize>,
    offsets: Vec<u64>,
}

impl Remote {
    fn new(layers: &[Vec<u8>]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let image = TestImage::new("amd64", layers);
        let manifest = image.write(folder.path());
        let mut blobs: Vec<_> = image.layers.iter().map(|(packed, _)| packed.clone()).collect();
        blobs.push(image.config());
        let manifest = fs::read(folder.path().join("blobs/sha256").join(manifest.digest.hex())).unwrap();
        Self { manifest, blobs, breaks: VecDeque::new(), offsets: Vec::new() }
    }
}

impl Source for Remote {
    fn top(&mut self) -> Result<Document> {
        let bytes = self.manifest.clone();
        Ok(Document { media_type: String::new(), digest: Digest::of(&bytes), bytes })
    }

    fn manifest(&mut self, _: &Descriptor) -> Result<Document> {
        Err(anyhow!("there is no index"))
    }

    fn blob(&mut self, descriptor: &Descriptor, offset: u64) -> Result<Box<dyn Read + Send + '_>> {
        let bytes = self.blobs.iter().find(|bytes| Digest::of(bytes) == descriptor.digest).expect("a blob");
        if descriptor.media_type.contains("config") {
            return Ok(Box::new(&bytes[..]));
        }
        self.offsets.push(offset);
        let rest = &bytes[usize::try_from(offset).unwrap()..];
        Ok(match self.breaks.pop_front() {
            Some(length) => Box::new(rest[..length.min(rest.len())].chain(Broken)),
            None => Box::new(rest),
        })
    }

    fn resumable(&self) -> bool {
        true
    }
}

struct Broken;

impl Read for Broken {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::Error::new(io::ErrorKind::ConnectionReset, "the line broke"))
    }
}

#[test]
fn what_came_of_a_layer_is_gone_on_with() {
    let place = Place::new();
    let mut source = Remote::new(&layers());
    source.breaks = [300, 50].into();
    let pull = |source: &mut Remote| place.store.pull("test", source, ARCHITECTURE, &mut Quiet);
    for _ in 0..2 {
        let error = format!("{:#}", pull(&mut source).unwrap_err());
        assert!(error.contains("the line broke"), "{error}");
    }
    let part = place.files();
    assert!(part.len() == 1 && part[0].ends_with(".part"), "{part:?}");
    check_image(&pull(&mut source).unwrap());
    assert_eq!(source.offsets, [0, 300, 350, 0]);
    assert!(place.files().iter().all(|name| !name.contains("part") && !name.contains("tmp")));
    // It is there: the source is asked for its top alone.
    check_image(&pull(&mut source).unwrap());
    assert_eq!(source.offsets.len(), 4);
    // What was kept and is wrong is thrown away, and said to be.
    let mut source = Remote::new(&layers()[..1]);
    let digest = Digest::of(&source.blobs[0]);
    fs::write(place.store.blob_path(digest).with_extension("part"), [1; 200]).unwrap();
    let error = format!("{:#}", pull(&mut source).unwrap_err());
    assert!(error.contains("pull the image again"), "{error}");
    pull(&mut source).unwrap();
    assert_eq!(source.offsets, [200, 0]);
}

#[test]
fn a_pinned_digest_holds() {
    let place = Place::new();
    let mut source = Remote::new(&layers());
    let digest = source.top().unwrap().digest;
    let name = format!("test@{digest}");
    check_image(&place.store.pull(&name, &mut source, ARCHITECTURE, &mut Quiet).unwrap());
    let other = format!("test@{}", Digest::of(b""));
    let error = place.store.pull(&other, &mut source, ARCHITECTURE, &mut Quiet).unwrap_err();
    assert!(format!("{error:#}").contains(&digest.to_string()), "{error:#}");
}

#[test]
fn garbage_is_what_no_name_leads_to_and_nobody_runs() {
    let place = Place::new();
    let store = &place.store;
    let image = store.pull("test:a", &mut Remote::new(&layers()), ARCHITECTURE, &mut Quiet).unwrap();
    let again = store.pull("test:b", &mut Remote::new(&layers()), ARCHITECTURE, &mut Quiet).unwrap();
    let other = store.pull("test:c", &mut Remote::new(&layers()[..1]), ARCHITECTURE, &mut Quiet).unwrap();
    fs::write(place.path("store/tmp/left.erofs"), [0; 5000]).unwrap();
    fs::write(place.path("store/blobs/sha256/left.part"), [0; 5000]).unwrap();
    let freed = store.collect_garbage().unwrap();
    assert_eq!(freed.count, 2);
    assert!(freed.bytes >= 10_000, "{freed:?}");
    assert!(store.remove("test:a").unwrap());
    assert!(!store.remove("test:a").unwrap());
    assert!(store.find("test:a", ARCHITECTURE).unwrap().is_none());
    assert_eq!(store.collect_garbage().unwrap(), Freed::default());
    check_image(&again);
    assert!(store.remove("test:b").unwrap());
    let running = image.open_root().unwrap();
    // Its documents go; its root does not.
    assert_eq!(store.collect_garbage().unwrap().count, 2);
    check_image(&image);
    drop(running);
    assert_eq!(store.collect_garbage().unwrap().count, 1);
    assert!(!image.root().exists());
    let error = image.open_root().unwrap_err().to_string();
    assert!(error.contains("test:a was removed meanwhile"), "{error}");
    assert!(other.root().exists() && store.find("test:c", ARCHITECTURE).unwrap().is_some());
    fs::remove_file(other.root()).unwrap();
    assert!(store.find("test:c", ARCHITECTURE).unwrap().is_none());
    assert!(!store.list().unwrap()[0].complete);
    store.pull("test:c", &mut Remote::new(&layers()[..1]), ARCHITECTURE, &mut Quiet).unwrap();
    assert!(store.find("test:c", ARCHITECTURE).unwrap().is_some());
    fs::write(place.store.record_path("docker.io/library/test:c"), "{").unwrap();
    assert!(store.find("test:c", ARCHITECTURE).unwrap().is_none() && store.list().unwrap().is_empty());
}

#[test]
fn threads_that_pull_and_collect_at_once_disturb_nobody() {
    let place = Place::new();
    let store = &place.store;
    let (sender, receiver) = mpsc::channel();
    let unpacked = AtomicUsize::new(0);
    let images = Mutex::new(Vec::new());
    thread::scope(|scope| {
        // Whenever one begins and ends, at least.
        scope.spawn(|| receiver.into_iter().for_each(|()| assert!(store.collect_garbage().is_ok())));
        for number in 0..4 {
            let (images, unpacked, sender) = (&images, &unpacked, sender.clone());
            scope.spawn(move || {
                for round in 0..5 {
                    // Two threads each want the same image at the same time.
                    let content = format!("{round} {}", number / 2);
                    let mut source =
                        Remote::new(&[tar(|tar| drop(tar.file("f", content.as_bytes()).finish()))]);
                    let name = format!("test:{round}-{}", number / 2);
                    sender.send(()).unwrap();
                    let image = store.pull(&name, &mut source, ARCHITECTURE, &mut Quiet).unwrap();
                    sender.send(()).unwrap();
                    unpacked.fetch_add(source.offsets.len(), Ordering::Relaxed);
                    let root = image.open_root().unwrap();
                    images.lock().unwrap().push((image, root));
                }
            });
        }
        drop(sender);
    });
    assert_eq!(store.list().unwrap().len(), 10);
    assert_eq!(unpacked.into_inner(), 10, "each image was unpacked once");
    assert!(store.list().unwrap().iter().all(|one| one.complete));
}

/// A source that stops in the middle of its layer, says so, and goes on when it is told to.
struct Stopping(Remote);

impl Source for Stopping {
    fn top(&mut self) -> Result<Document> {
        self.0.top()
    }

    fn manifest(&mut self, descriptor: &Descriptor) -> Result<Document> {
        self.0.manifest(descriptor)
    }

    fn blob(&mut self, descriptor: &Descriptor, offset: u64) -> Result<Box<dyn Read + Send + '_>> {
        let mut bytes = Vec::new();
        self.0.blob(descriptor, offset)?.read_to_end(&mut bytes)?;
        if descriptor.media_type.contains("config") {
            return Ok(Box::new(Cursor::new(bytes)));
        }
        let rest = bytes.split_off(bytes.len() / 2);
        Ok(Box::new(Cursor::new(bytes).chain(Stop { rest: Cursor::new(rest), stopped: false })))
    }

    fn resumable(&self) -> bool {
        true
    }
}

struct Stop {
    rest: Cursor<Vec<u8>>,
    stopped: bool,
}

impl Read for Stop {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if !self.stopped {
            self.stopped = true;
            println!("\nhalf");
            io::stdin().read_line(&mut String::new())?;
        }
        self.rest.read(buffer)
    }
}

/// Says on standard output when it waits for another process.
struct Speaking;

impl Progress for Speaking {
    fn begin(&mut self, what: &str, _: Option<u64>) {
        println!("\n{what}");
    }
    fn advance(&mut self, _: u64) {}
    fn end(&mut self) {}
}

const CHILD: &str = "HV_IMAGES_TEST_STORE";

/// Noise that does not pack, so that half of a layer is half of a file.
fn noise() -> Vec<u8> {
    let mut state = 1_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_le_bytes()[7]
    };
    let noise: Vec<u8> = (0..4 << 20).map(|_| next()).collect();
    tar(|tar| drop(tar.file("noise", &noise).file("end", b"end").finish()))
}

/// No test: the process that [`child`] starts.
#[test]
#[ignore = "run by other tests"]
fn process() {
    let Some(folder) = std::env::var_os(CHILD) else { return };
    let store = Store::open(Path::new(&folder)).unwrap();
    let mut source = Stopping(Remote::new(&[noise()]));
    let image = store.pull("test", &mut source, ARCHITECTURE, &mut Speaking).unwrap();
    println!("\ndone {} {}", image.digest, source.0.offsets.len());
}

struct Process {
    child: Child,
    output: BufReader<std::process::ChildStdout>,
}

impl Process {
    fn start(store: &Path) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "store::tests::process", "--ignored", "--nocapture"]).env(CHILD, store);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Self { child, output }
    }

    /// Reads up to a line that begins so; the line.
    fn wait_for(&mut self, start: &str) -> String {
        let mut line = String::new();
        loop {
            line.clear();
            assert_ne!(self.output.read_line(&mut line).unwrap(), 0, "the process ended before {start}");
            if line.starts_with(start) {
                return line;
            }
        }
    }

    fn go_on(&mut self) {
        self.child.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_killed_process_leaves_only_garbage_and_what_can_be_gone_on_with() {
    let place = Place::new();
    let folder = place.path("store");
    let mut killed = Process::start(&folder);
    killed.wait_for("half");
    // It lives: what it works on is nobody's garbage.
    assert_eq!(place.store.collect_garbage().unwrap(), Freed::default());
    let at_work = place.files();
    assert_eq!(at_work.len(), 3, "{at_work:?}");
    drop(killed);
    assert_eq!(place.files(), at_work, "nobody cleans up");
    // Another goes on with it.
    let mut source = Remote::new(&[noise()]);
    let image = place.store.pull("test", &mut source, ARCHITECTURE, &mut Quiet).unwrap();
    assert!(source.offsets[0] > 1 << 20, "{:?}", source.offsets);
    if let Some(folder) = extract(image.root()) {
        assert_eq!(fs::read(folder.path().join("noise")).unwrap().len(), 4 << 20);
        assert_eq!(fs::read(folder.path().join("end")).unwrap(), b"end");
    }
    assert!(place.files().iter().all(|name| !name.contains("part") && !name.contains("tmp")));
    // Killed once more, and nobody wants the image: all of it goes.
    let place = Place::new();
    let mut killed = Process::start(&place.path("store"));
    killed.wait_for("half");
    drop(killed);
    let freed = place.store.collect_garbage().unwrap();
    assert!(freed.count == 3 && freed.bytes > 1 << 20, "{freed:?}");
    assert_eq!(place.files(), Vec::<String>::new());
}

#[test]
fn processes_that_want_the_same_image_do_the_work_once() {
    let place = Place::new();
    let folder = place.path("store");
    let mut first = Process::start(&folder);
    first.wait_for("half");
    let mut second = Process::start(&folder);
    second.wait_for("waiting for another process that unpacks it");
    first.go_on();
    let first = first.wait_for("done");
    let second = second.wait_for("done");
    assert!(first.trim().ends_with(" 1") && second.trim().ends_with(" 0"), "{first} {second}");
    // And if the first is killed, the second does it.
    let place = Place::new();
    let folder = place.path("store");
    let mut first = Process::start(&folder);
    first.wait_for("half");
    let mut second = Process::start(&folder);
    second.wait_for("waiting for another process that unpacks it");
    drop(first);
    second.wait_for("half");
    second.go_on();
    assert!(second.wait_for("done").trim().ends_with(" 1"));
    assert!(place.store.find("test", ARCHITECTURE).unwrap().is_some());
}
