//! What layers make of a root, hostile ones too.

use std::{collections::BTreeMap, fs, os::unix::fs::MetadataExt, process::Command};

use super::*;
use crate::testing::{TarWriter, extract, tar, unpack, unpack_with};

fn error(add: impl FnOnce(&mut TarWriter)) -> String {
    format!("{:#}", unpack(&[tar(add)]).unwrap_err())
}

#[track_caller]
fn lists(found: &BTreeMap<String, String>, expected: &[(&str, &str)]) {
    let expected: BTreeMap<_, _> =
        expected.iter().map(|(path, what)| ((*path).to_owned(), (*what).to_owned())).collect();
    let mut found = found.clone();
    found.remove("/");
    assert_eq!(found, expected);
}

#[test]
fn everything_that_tar_knows_is_kept() {
    let found = unpack(&[tar(|tar| {
        tar.entry(b'5', b"./", "", b"", |header| header.set_mode(0o700));
        tar.entry(b'0', b"./file", "", b"hello", |header| {
            header.set_mode(0o4755);
            header.set_uid(0o7777777);
            header.set_gid(u64::from(u32::MAX - 1));
        });
        tar.symlink("link", "../../etc/passwd").hard_link("dir/hard", "file");
        tar.entry(b'3', b"null", "", b"", |header| {
            header.set_device_major(1).unwrap();
            header.set_device_minor(3).unwrap();
        });
        tar.entry(b'4', b"disk", "", b"", |header| {
            header.set_device_major(8).unwrap();
            header.set_device_minor(0xfffff).unwrap();
        });
        tar.entry(b'6', b"pipe", "", b"", |_| {});
        tar.pax(&[
            ("path", "dir/ü\n=".as_bytes()),
            ("uid", b"12"),
            ("mtime", b"-1.5"),
            ("SCHILY.xattr.security.capability", b"\x01\n=\0\x02"),
            ("SCHILY.xattr.user.x", b""),
            ("SCHILY.xattr.com.apple.y", b"z"),
        ]);
        tar.file("x", b"1");
    })])
    .unwrap();
    assert_eq!(found["/"], "directory 700 0:0");
    lists(
        &found,
        &[
            ("/dir", "directory 755 0:0"),
            ("/dir/hard", "file 5 4755 2097151:4294967294 names 2"),
            (r"/dir/\xc3\xbc\n=", r"file 1 644 12:0 security.capability=\x01\n=\x00\x02 user.x="),
            ("/disk", "block 8:1048575 644 0:0"),
            ("/file", "file 5 4755 2097151:4294967294 names 2"),
            ("/link", "-> ../../etc/passwd 644 0:0"),
            ("/null", "character 1:3 644 0:0"),
            ("/pipe", "fifo 644 0:0"),
        ],
    );
}

#[test]
fn whiteouts_hide_what_lower_layers_have_wherever_they_stand() {
    let lower = tar(|tar| {
        tar.file("a/one", b"1").file("a/two", b"2").file("a/deep/er/three", b"3").file("b", b"4");
        tar.file("c/x", b"5").file("c/y/z", b"6").symlink("to_c", "c");
    });
    let upper = tar(|tar| {
        // A whiteout before and behind what the layer itself brings.
        tar.file("a/.wh.one", b"").file("a/one", b"new").file("a/deep/new", b"n").file("a/.wh.deep", b"");
        tar.file(".wh.b", b"").file(".wh.none", b"").file("none/.wh.none", b"");
        tar.file("c/y/new", b"n").file("to_c/.wh..wh..opq", b"").file("c/after", b"n");
        tar.file(".wh..wh.plnk", b"").directory(".wh..wh.aufs");
    });
    let found = unpack(&[lower, upper]).unwrap();
    lists(
        &found,
        &[
            ("/a", "directory 755 0:0"),
            ("/a/deep", "directory 755 0:0"),
            ("/a/deep/new", "file 1 644 0:0"),
            ("/a/one", "file 3 644 0:0"),
            ("/a/two", "file 1 644 0:0"),
            ("/c", "directory 755 0:0"),
            ("/c/after", "file 1 644 0:0"),
            ("/c/y", "directory 755 0:0"),
            ("/c/y/new", "file 1 644 0:0"),
            ("/to_c", "-> c 644 0:0"),
        ],
    );
}

#[test]
fn an_upper_layer_replaces_and_links_what_is_below() {
    let lower = tar(|tar| {
        tar.file("file", b"1").directory("dir").file("dir/x", b"2").file("kept", b"333").symlink("s", "dir");
    });
    let upper = tar(|tar| {
        tar.directory("file").file("dir", b"4").hard_link("again", "kept").file(".wh.kept", b"");
        tar.file("twice", b"5").file("twice", b"66").symlink("s", "file");
    });
    lists(
        &unpack(&[lower, upper]).unwrap(),
        &[
            ("/again", "file 3 644 0:0 names 2"),
            ("/dir", "file 1 644 0:0"),
            ("/file", "directory 755 0:0"),
            ("/kept", "file 3 644 0:0 names 2"),
            ("/s", "-> file 644 0:0"),
            ("/twice", "file 2 644 0:0"),
        ],
    );
}

#[test]
fn nothing_leads_out_of_the_root() {
    let found = unpack(&[tar(|tar| {
        tar.symlink("up", "../../../..").symlink("absolute", "/etc").directory("etc");
        tar.file("up/one", b"1").file("absolute/two", b"22");
    })])
    .unwrap();
    assert_eq!((&*found["/one"], &*found["/etc/two"]), ("file 1 644 0:0", "file 2 644 0:0"));
    for (path, cause) in [
        ("../x", "a path with `..`"),
        ("a/../x", "a path with `..`"),
        ("a/..", "a path with `..`"),
        ("/etc/x", "an absolute path"),
        (".wh...", "a whiteout of nothing"),
        (".wh..", "a whiteout of nothing"),
        (".wh.", "a whiteout of nothing"),
        ("a/.wh...", "a whiteout of nothing"),
    ] {
        let error = error(|tar| drop(tar.file(path, b"").finish()));
        assert!(error.contains(&format!("{path:?}")) && error.contains(cause), "{error}");
    }
    for target in ["../x", "/etc/passwd", "none", "dir", "up/none", "."] {
        let error = error(|tar| {
            tar.directory("dir").symlink("up", "..").hard_link("hard", target);
        });
        assert!(error.contains("\"hard\""), "{target}: {error}");
    }
    let error = error(|tar| {
        tar.symlink("a", "b").symlink("b", "a").file("a/x", b"");
    });
    assert!(error.contains("symbolic links"), "{error}");
}

#[test]
fn what_no_root_can_have_is_refused() {
    let long = "x".repeat(5000);
    let deep = "d/".repeat(2040);
    let name = "n".repeat(256);
    for (records, cause) in [
        (&[("path", long.as_bytes())][..], "longer than 4096"),
        (&[("linkpath", long.as_bytes())], "longer than 4096"),
        (&[("path", name.as_bytes())], "cannot be a file's name"),
        (&[("path", b"a\0b")], "cannot be a file's name"),
        (&[("uid", b"4294967296")], "owner 4294967296"),
        (&[("uid", b"x")], "not a number"),
        (&[("size", b"99999999999999999999")], "not a number"),
        (&[("mtime", b"now")], "not a time"),
        (&[("SCHILY.xattr.", b"x")], "name of 0 bytes"),
        (&[("SCHILY.xattr.user.x", &[0; 65537])], "65537 bytes"),
        (
            &[("SCHILY.xattr.user.x", &[0; 60000]), ("SCHILY.xattr.user.y", &[0; 60000])],
            "bytes of attributes",
        ),
    ] {
        let error = error(|tar| drop(tar.pax(records).file("entry", b"").finish()));
        assert!(error.contains(cause) && error.len() < 500, "{cause}: {error}");
    }
    let kept = unpack(&[tar(|tar| drop(tar.pax(&[("path", deep.as_bytes())]).directory("x").finish()))]);
    assert_eq!(kept.unwrap().len(), 2041);
    let error_of_device = error(|tar| {
        tar.entry(b'3', b"bomb", "", b"", |header| header.set_device_major(0o7777777).unwrap());
    });
    assert!(error_of_device.contains("bomb"), "{error_of_device}");
    let limits = Limits { entries: 3, ..Limits::default() };
    let layer = tar(|tar| drop(tar.file("a", b"").file("a", b"").file("a", b"").file("a", b"").finish()));
    let error = unpack_with(&[layer], &limits).unwrap_err().to_string();
    assert!(error.contains("more than 3 entries"), "{error}");
}

#[test]
fn a_huge_sparse_file_costs_nothing_and_many_small_ones_little() {
    const SIZE: u64 = 1 << 40;
    let mut root = Root::new(Writer::new(tempfile::tempfile().unwrap()).unwrap(), &LIMITS);
    let map = format!("1\n{}\n3\n", SIZE - 3);
    let layer = tar(|tar| {
        let size = SIZE.to_string();
        tar.pax(&[
            ("GNU.sparse.major", b"1"),
            ("GNU.sparse.minor", b"0"),
            ("GNU.sparse.name", b"huge"),
            ("GNU.sparse.realsize", size.as_bytes()),
        ]);
        let mut data = map.into_bytes();
        data.resize(512, 0);
        data.extend_from_slice(b"end");
        tar.file("GNUSparseFile.0/huge", &data);
        for number in 0..200_000 {
            tar.file(&format!("many/{}/{number}", number % 100), b"tiny");
        }
    });
    root.apply(&mut Archive::new(&layer[..])).unwrap();
    let found = crate::testing::listing(root.parts().0);
    assert_eq!(found["/huge"], format!("file {SIZE} 644 0:0"));
    assert_eq!(found.len(), 1 + 1 + 1 + 100 + 200_000);
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut root = Root::new(Writer::new(file.reopen().unwrap()).unwrap(), &LIMITS);
    root.apply(&mut Archive::new(&layer[..])).unwrap();
    root.finish([1; 16]).unwrap();
    let taken = file.as_file().metadata().unwrap().blocks() * 512;
    assert!(taken < 40 << 20, "{taken} bytes");
}

static LIMITS: Limits = Limits { layer_bytes: 1 << 50, image_bytes: 1 << 50, entries: 1 << 20 };

/// What the tools of this host unpack, `fsck.erofs` finds in our image.
#[test]
fn a_root_is_what_tar_itself_would_have_unpacked() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source");
    fs::create_dir_all(source.join("deep/er")).unwrap();
    fs::write(source.join("big"), (0..3_000_000_u32).map(|number| (number % 251) as u8).collect::<Vec<_>>())
        .unwrap();
    fs::write(source.join("deep/er/small"), b"small").unwrap();
    fs::write(source.join("empty"), b"").unwrap();
    fs::hard_link(source.join("big"), source.join("deep/big")).unwrap();
    std::os::unix::fs::symlink("../big", source.join("deep/link")).unwrap();
    fs::write(source.join("x".repeat(200)), b"long").unwrap();
    let sparse = fs::File::create(source.join("sparse")).unwrap();
    sparse.set_len(50 << 20).unwrap();
    for offset in [0, 1 << 20, 5_000_001, 49 << 20] {
        std::os::unix::fs::FileExt::write_all_at(&sparse, b"data", offset).unwrap();
    }
    for options in [
        &["--format=gnu"][..],
        &["--format=gnu", "--sparse"],
        &["--format=posix"],
        &["--format=posix", "--sparse", "--sparse-version=0.0"],
        &["--format=posix", "--sparse", "--sparse-version=0.1"],
        &["--format=posix", "--sparse", "--sparse-version=1.0"],
    ] {
        let archive = folder.path().join("archive");
        let mut command = Command::new("tar");
        command.args(options).arg("-cf").arg(&archive).arg("-C").arg(&source).arg(".");
        let Ok(status) = command.status() else {
            eprintln!("skipped: tar is not installed");
            return;
        };
        if !status.success() {
            eprintln!("skipped: this host's tar does not know {options:?}");
            continue;
        }
        let image = folder.path().join("image");
        let mut root = Root::new(Writer::new(fs::File::create_new(&image).unwrap()).unwrap(), &LIMITS);
        root.apply(&mut Archive::new(&fs::read(&archive).unwrap()[..])).unwrap();
        // The tools of today leave holes out of what they extract: this file is looked at where it lies.
        let sparse = contents(&image, root.parts().0, b"sparse");
        assert!(sparse == fs::read(source.join("sparse")).unwrap(), "{options:?}");
        root.finish([2; 16]).unwrap();
        if let Some(extracted) = extract(&image) {
            let compared = Command::new("diff")
                .arg("-r")
                .args(["--no-dereference", "--exclude=sparse"])
                .args([&source, extracted.path()])
                .output();
            let compared = compared.unwrap();
            assert!(compared.status.success(), "{options:?}: {}", String::from_utf8_lossy(&compared.stdout));
        }
        fs::remove_file(&image).unwrap();
    }
}

/// The bytes of a file, from where the tree says that they are in the image.
fn contents(image: &std::path::Path, tree: &Tree, name: &[u8]) -> Vec<u8> {
    let node = tree.lookup(&[name]).unwrap();
    let Kind::File(content) = tree.kind(node) else { panic!("no file") };
    let mut bytes = vec![0; usize::try_from(content.size).unwrap()];
    let image = fs::File::open(image).unwrap();
    for extent in &content.extents {
        let range = extent.file_range();
        let part = &mut bytes[usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()];
        std::os::unix::fs::FileExt::read_exact_at(&image, part, extent.image_offset).unwrap();
    }
    bytes
}
