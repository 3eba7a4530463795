//! Images under the eyes of erofs-utils and, where a test may mount, of Linux.

mod compare;
mod figures;
mod random;

use std::{
    fs,
    io::{Cursor, empty, repeat},
    os::unix::fs::{FileExt, MetadataExt},
};

use tempfile::NamedTempFile;

use super::*;
use crate::tree::{Attributes, Extent, Kind, components};
use compare::{Mounted, bytes, check, checks_out, dump};

const UUID: [u8; 16] = *b"0123456789abcdef";

/// An image that is being made. The bytes of its files follow from their owner and size ([`bytes`]).
struct Maker {
    image: NamedTempFile,
    writer: Writer,
    tree: Tree,
}

impl Maker {
    fn new() -> Self {
        let image = NamedTempFile::new().unwrap();
        let writer = Writer::new(image.reopen().unwrap()).unwrap();
        Self { image, writer, tree: Tree::new(1_000_000) }
    }

    fn file(&mut self, path: &str, attributes: Attributes, size: u64) {
        let content = self.writer.store(size, &mut Cursor::new(bytes(attributes.uid, size))).unwrap();
        self.insert(path, attributes, Kind::File(content));
    }

    fn insert(&mut self, path: &str, attributes: Attributes, kind: Kind) {
        let freed = self.tree.insert(&components(path.as_bytes()).unwrap(), attributes, kind).unwrap();
        freed.into_iter().for_each(|content| self.writer.discard(content).unwrap());
    }

    fn finish(self) -> (NamedTempFile, Tree) {
        let size = self.writer.finish(&self.tree, UUID).unwrap();
        let metadata = self.image.as_file().metadata().unwrap();
        assert_eq!((metadata.len(), size % BLOCK), (size, 0));
        (self.image, self.tree)
    }
}

fn owned(uid: u32) -> Attributes {
    Attributes { mode: 0o644, uid, gid: uid / 2, mtime: 1_700_000_000, ..Attributes::default() }
}

fn with_xattrs(uid: u32, xattrs: &[(&str, &[u8])]) -> Attributes {
    let xattrs = xattrs.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.to_vec())).collect();
    Attributes { xattrs, ..owned(uid) }
}

#[test]
fn an_empty_root_is_an_image() {
    let (image, tree) = Maker::new().finish();
    assert_eq!(image.as_file().metadata().unwrap().len(), 2 * BLOCK);
    check(&image, &tree);
}

#[test]
fn files_of_every_kind_and_attribute_come_back() {
    let mut maker = Maker::new();
    for (index, size) in
        [0, 1, 100, 2047, 2048, 2049, 4095, 4096, 4097, 300_000, 20_000_000].into_iter().enumerate()
    {
        maker.file(&format!("files/{index}"), owned(u32::try_from(index).unwrap()), size);
    }
    let odd = Attributes {
        mode: 0o7777,
        uid: 70_000,
        gid: 4_000_000_000,
        mtime: -5,
        mtime_nanos: 999_999_999,
        ..owned(0)
    };
    maker.file("odd", odd.clone(), 5000);
    maker.insert("late", Attributes { mtime: 5_000_000_000, ..odd.clone() }, Kind::Fifo);
    maker.insert("files", Attributes { mode: 0o1770, ..odd.clone() }, Kind::Directory);
    maker.insert("", Attributes { mode: 0o711, ..odd }, Kind::Directory);
    maker.insert("pipe", owned(1), Kind::Fifo);
    maker.insert("socket", owned(2), Kind::Socket);
    for (major, minor) in [(0, 0), (1, 3), (255, 255), (256, 256), (4095, (1 << 20) - 1)] {
        maker.insert(&format!("c{major}"), owned(3), Kind::CharacterDevice { major, minor });
        maker.insert(&format!("b{major}"), owned(3), Kind::BlockDevice { major, minor });
    }
    for length in [1, 100, 3000, 4000, 4095] {
        maker.insert(&format!("link{length}"), owned(4), Kind::Symlink(vec![b'x'; length]));
    }
    for (name, target) in [("hard1", "files/9"), ("files/hard2", "hard1"), ("hard3", "pipe")] {
        let target = components(target.as_bytes()).unwrap();
        maker.tree.link(&components(name.as_bytes()).unwrap(), &target).unwrap();
    }
    let (image, tree) = maker.finish();
    check(&image, &tree);
}

#[test]
fn extended_attributes_come_back() {
    let mut maker = Maker::new();
    let label = ("security.selinux", &b"system_u:object_r:bin_t:s0\0"[..]);
    // Revision 2, one of the capabilities.
    let capability = ("security.capability", &b"\x01\0\0\x02\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0"[..]);
    // Version 2: owner rwx, user 7 r-x, group r-x, mask r-x, others nothing.
    let acl = b"\x02\0\0\0\x01\0\x07\0\xff\xff\xff\xff\x02\0\x05\0\x07\0\0\0\x04\0\x05\0\xff\xff\xff\xff\
        \x10\0\x05\0\xff\xff\xff\xff\x20\0\0\0\xff\xff\xff\xff";
    let acl = [("system.posix_acl_access", &acl[..]), ("system.posix_acl_default", &acl[..])];
    let large = vec![b'v'; 20_000];
    maker.file("capable", with_xattrs(1, &[label, capability]), 5000);
    maker.file("labelled", with_xattrs(2, &[label]), 10);
    maker.file("holes", with_xattrs(4, &[label, ("user.a", b"")]), 200_000);
    maker.file("large", with_xattrs(3, &[("user.large", &large), ("trusted.overlay.opaque", b"y")]), 10);
    maker.insert(
        "link",
        with_xattrs(3, &[label, ("trusted.x", &large[..4000])]),
        Kind::Symlink(b"large".to_vec()),
    );
    maker.insert("directory", with_xattrs(5, &[acl[0], acl[1], label]), Kind::Directory);
    maker.insert("pipe", with_xattrs(5, &[("trusted.only", b"\0\xff")]), Kind::Fifo);
    let many: Vec<_> = (0..300).map(|number| format!("user.{number}")).collect();
    let many: Vec<_> = many.iter().map(|name| (name.as_str(), &b"of many"[..])).collect();
    maker.file("many", with_xattrs(6, &many), 100);
    maker.file("many too", with_xattrs(7, &many), 100);
    // Nothing of EROFS can keep these.
    maker.file(
        "foreign",
        with_xattrs(8, &[("com.apple.quarantine", b"1"), ("system.nfs4_acl", b"2"), ("user.", b"3")]),
        3,
    );
    let (image, tree) = maker.finish();
    check(&image, &tree);
    let kept = ["user.a", "trusted.a", "security.a", "system.posix_acl_access"];
    assert!(kept.iter().all(|name| is_kept(name.as_bytes())));
    assert!(["user", "user.", "system.a", "com.apple.a"].iter().all(|name| !is_kept(name.as_bytes())));
}

#[test]
fn directories_of_any_size_come_back() {
    let mut maker = Maker::new();
    // Around `.` and `..` in the order of bytes, and the longest names.
    for name in ["!", "-", ".-", "..a", "...", ".a", "/0", "\u{e9}", "Z", "a"] {
        maker.insert(&format!("order/{name}"), owned(1), Kind::Fifo);
    }
    for count in [14, 15, 16, 200] {
        for number in 0..count {
            maker.insert(&format!("long{count}/{number:0>255}"), owned(1), Kind::Fifo);
        }
    }
    for number in 0..100_000 {
        maker.insert(&format!("big/{number}"), owned(1), Kind::Socket);
    }
    for number in 0..70_000 {
        maker.insert(&format!("deep/{number}/x"), owned(1), Kind::Directory);
    }
    let deep = "d/".repeat(500);
    maker.insert(&deep, owned(1), Kind::Directory);
    let (image, tree) = maker.finish();
    if let Some(mounted) = Mounted::new(&image) {
        // More subdirectories than a compact inode can count.
        assert_eq!(fs::metadata(mounted.path().join("deep")).unwrap().nlink(), 70_002);
        assert_eq!(fs::read_dir(mounted.path().join("big")).unwrap().count(), 100_000);
        compare::same(mounted.path(), &tree, true);
    }
    checks_out(&image);
}

#[test]
fn small_files_take_no_blocks_and_zeros_no_space() {
    let mut maker = Maker::new();
    for number in 0..10_000 {
        maker.file(&format!("{number}"), owned(1), 90);
    }
    let (image, _) = maker.finish();
    // Inode, content, entry: of each file.
    assert!(image.as_file().metadata().unwrap().len() < 10_000 * (128 + 20));
    let mut maker = Maker::new();
    let content = maker.writer.store(100 << 20, &mut repeat(0)).unwrap();
    assert_eq!(content, Content { size: 100 << 20, ..Content::default() });
    maker.insert("zeros", owned(1), Kind::File(content));
    let (image, _) = maker.finish();
    assert_eq!(image.as_file().metadata().unwrap().len(), 2 * BLOCK);
    checks_out(&image);
}

#[test]
fn sparse_files_have_their_bytes_where_they_were() {
    let mut maker = Maker::new();
    let segments = [(10, 5), (15, 0), (4090, 10), (3 << 20, 4096), (99_999_990, 10)];
    let content = maker.writer.store_segments(100_000_000, &segments, &mut repeat(7)).unwrap();
    // Chunks of 8 blocks, and the last one as long as the file.
    let chunk = |file_offset, length, image_offset| Extent { file_offset, length, image_offset };
    let expected = [chunk(0, 32768, 4096), chunk(3 << 20, 32768, 36864), chunk(99_975_168, 24_832, 69_632)];
    assert_eq!(content.extents, expected);
    maker.insert("sparse", owned(1), Kind::File(content));
    let small = maker.writer.store_segments(100, &[(3, 2)], &mut &b"ab"[..]).unwrap();
    assert_eq!(small.inline[..6], *b"\0\0\0ab\0");
    maker.insert("small", owned(1), Kind::File(small));
    for (name, size) in [("hole", 1 << 40), ("largest", MOST_FILE), ("one", 4097)] {
        let content = maker.writer.store_segments(size, &[], &mut empty()).unwrap();
        maker.insert(name, owned(1), Kind::File(content));
    }
    let (image, _) = maker.finish();
    if let Some(said) = dump(&image, &["-e", "--path=/sparse"]) {
        let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
        for range in ["0.. 32768 | 32768 : 4096.. 36864", "3145728.. 3178496 | 32768 : 36864.. 69632"] {
            assert!(said.contains(range), "{said}");
        }
    }
    let Some(mounted) = Mounted::new(&image) else { return };
    let mut expected = vec![0; 100_000_000];
    for (offset, length) in segments {
        let range = usize::try_from(offset).unwrap()..usize::try_from(offset + length).unwrap();
        expected[range].fill(7);
    }
    assert!(fs::read(mounted.path().join("sparse")).unwrap() == expected);
    let sparse = File::open(mounted.path().join("sparse")).unwrap();
    assert_eq!(rustix::fs::seek(&sparse, rustix::fs::SeekFrom::Hole(0)).unwrap(), 32768);
    assert_eq!(rustix::fs::seek(&sparse, rustix::fs::SeekFrom::Data(32768)).unwrap(), 3 << 20);
    let largest = File::open(mounted.path().join("largest")).unwrap();
    assert_eq!(largest.metadata().unwrap().len(), MOST_FILE);
    let mut end = [1; 10];
    largest.read_exact_at(&mut end, MOST_FILE - 10).unwrap();
    assert_eq!(end, [0; 10]);
    assert!(rustix::fs::seek(&largest, rustix::fs::SeekFrom::Data(0)).is_err());
}

#[test]
fn files_and_images_of_more_than_4_gib_are_read() {
    let mut maker = Maker::new();
    let size = 9 << 30;
    let segments: Vec<_> = (0..9).map(|number| (number << 30, 3 << 20)).collect();
    for name in ["one", "two"] {
        let content = maker.writer.store_segments(size, &segments, &mut repeat(9)).unwrap();
        maker.insert(name, owned(1), Kind::File(content));
    }
    // Each chunk that is in the image has one byte of data, so the image is long and takes no room.
    let segments: Vec<_> = (0..1 << 10).map(|number| (number << 30, 1)).collect();
    let content = maker.writer.store_segments(1 << 40, &segments, &mut repeat(8)).unwrap();
    maker.insert("far", owned(1), Kind::File(content));
    maker.file("behind", owned(3), 123_456);
    let (image, _) = maker.finish();
    let metadata = image.as_file().metadata().unwrap();
    assert!(metadata.len() > 250 << 30 && metadata.blocks() * 512 < 100 << 20, "{metadata:?}");
    let Some(mounted) = Mounted::new(&image) else { return };
    assert!(fs::read(mounted.path().join("behind")).unwrap() == bytes(3, 123_456));
    let read = |name: &str, offset: u64| {
        let mut found = [1; 2];
        File::open(mounted.path().join(name)).unwrap().read_exact_at(&mut found, offset).unwrap();
        found
    };
    for number in 0..9_u64 {
        assert_eq!(read("two", number << 30), [9, 9]);
        assert_eq!(read("one", (number << 30) + (3 << 20) - 1), [9, 0]);
        assert_eq!(read("far", (number * 100) << 30), [8, 0]);
    }
}

#[test]
fn the_same_files_make_the_same_bytes() {
    let make = || {
        let mut maker = Maker::new();
        for number in (0..500).chain(100..200).rev() {
            maker.file(
                &format!("d{}/{number}", number % 7),
                with_xattrs(number, &[("user.a", b"b")]),
                u64::from(number * 99),
            );
        }
        fs::read(maker.finish().0.path()).unwrap()
    };
    assert!(make() == make());
}

#[test]
fn what_is_discarded_takes_no_space() {
    let mut maker = Maker::new();
    for seed in 0..20 {
        maker.file("again", owned(seed), 1_000_000);
        maker.file("small again", owned(seed), 1000);
    }
    assert_eq!(maker.writer.inline, 1000);
    maker.file("other", owned(5), 100_000);
    let (image, tree) = maker.finish();
    let metadata = image.as_file().metadata().unwrap();
    if cfg!(target_os = "linux") {
        assert!(metadata.blocks() * 512 < 1_400_000, "{} bytes", metadata.blocks() * 512);
    }
    check(&image, &tree);
}

#[test]
fn what_readers_and_lists_get_wrong_is_refused() {
    let mut maker = Maker::new();
    let writer = &mut maker.writer;
    for size in [1000, 1_000_000] {
        let error = writer.store(size, &mut bytes(1, size - 1).as_slice()).unwrap_err();
        assert!(format!("{error:#}").contains(&format!("a file of {size} bytes")), "{error:#}");
    }
    // What follows a file is left for the next.
    let mut both = Cursor::new(bytes(2, 600_000));
    writer.store(500_000, &mut both).unwrap();
    assert_eq!(both.position(), 500_000);
    assert!(writer.store(MOST_FILE + 1, &mut repeat(1)).is_err());
    for segments in
        [&[(0, 10), (5, 1)][..], &[(5000, 1), (0, 1)], &[(9999, 2)], &[(u64::MAX, 1)], &[(1, u64::MAX)]]
    {
        assert!(writer.store_segments(10_000, segments, &mut repeat(1)).is_err(), "{segments:?}");
    }
    // A file of another image.
    let extents = vec![Extent { file_offset: 0, length: 1 << 20, image_offset: 1 << 40 }];
    let content = Content { size: 1 << 20, extents, inline: Box::default() };
    maker.insert("foreign", owned(1), Kind::File(content.clone()));
    maker.writer.discard(content).unwrap();
    let error = maker.writer.finish(&maker.tree, UUID).unwrap_err().to_string();
    assert!(error.contains("not in this image"), "{error}");
}

#[test]
fn an_image_has_no_more_than_16_tib() {
    let mut maker = Maker::new();
    // Chunks of 4 GiB: each byte takes one.
    let segments: Vec<_> = (0..4095).map(|number| (number << 32, 1)).collect();
    maker.writer.store_segments(MOST_FILE, &segments, &mut repeat(1)).unwrap();
    let error = maker.writer.store_segments(MOST_FILE, &segments[..2], &mut repeat(1)).unwrap_err();
    assert!(error.to_string().contains("16 TiB"), "{error:#}");
}
