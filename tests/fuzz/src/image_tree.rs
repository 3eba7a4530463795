//! What an archive says of files: paths, kinds, links and whiteouts, and the image that comes of it.

use std::{collections::BTreeSet, io::repeat};

use hv_images::{
    erofs::Writer,
    tree::{Attributes, Content, Error, Kind, NodeId, Tree, components},
};

use crate::{Input, erofs_reader::Image};

/// Any entries in any order. Contents are in the tree or were handed back, and a reader of the image finds the tree.
///
/// # Panics
/// Something is lost, or the image is another.
pub fn image_tree(data: &[u8]) {
    let file = tempfile::tempfile().expect("a temporary file");
    let mut writer = Writer::new(file.try_clone().expect("a second handle")).expect("an empty image");
    let mut tree = Tree::new(64);
    let mut input = Input::new(data);
    let (mut stored, mut freed) = (0_u128, 0_u128);
    while !input.is_empty() {
        let path = path(&mut input);
        let Ok(path) = components(&path) else { continue };
        let result = match input.below(8) {
            0 => tree.remove(&path),
            1 => tree.clear(&path),
            2 => {
                tree.begin_layer();
                Ok(Vec::new())
            }
            3 => {
                let target = self::path(&mut input);
                components(&target).and_then(|target| tree.link(&path, &target))
            }
            _ => {
                let (attributes, kind) = (attributes(&mut input), kind(&mut input, &mut writer));
                let size = if let Kind::File(content) = &kind { u128::from(content.size) } else { 0 };
                let result = tree.insert(&path, attributes, kind);
                stored += if result.is_ok() { size } else { 0 };
                result
            }
        };
        // Then what was to be replaced may be gone.
        if matches!(result, Err(Error::Entries(_) | Error::Held)) {
            return;
        }
        for content in result.unwrap_or_default() {
            freed += u128::from(content.size);
            writer.discard(content).expect("space can be given back");
        }
    }
    let size = writer.finish(&tree, [7; 16]).expect("the image is written");
    assert!(size.is_multiple_of(4096) && file.metadata().expect("its size").len() == size);
    let mut seen = BTreeSet::new();
    let kept = compare(&tree, &Image::new(&file), &mut seen);
    assert_eq!(stored, freed + kept, "a file is lost");
}

/// Looks at every file; returns the bytes of those that are regular.
fn compare(tree: &Tree, image: &Image<'_>, seen: &mut BTreeSet<NodeId>) -> u128 {
    let (mut bytes, mut entries) = (0, 0);
    let mut ahead = vec![(Tree::ROOT, image.root(), image.root())];
    while let Some((node, number, parent)) = ahead.pop() {
        let (inode, attributes) = (image.inode(number), tree.attributes(node));
        assert_eq!(inode.mode & 0o7777, attributes.mode);
        assert_eq!((inode.uid, inode.gid, inode.time), (attributes.uid, attributes.gid, attributes.mtime));
        match tree.kind(node) {
            Kind::Directory => {
                let mut found = image.entries(&inode);
                assert!(found.is_sorted(), "Linux could not bisect {found:?}");
                for (name, expected) in [(&b"."[..], number), (b"..", parent)] {
                    let at = found.iter().position(|(found, _)| found == name).expect("`.` and `..`");
                    assert_eq!(found.remove(at).1, expected);
                }
                let names: Vec<_> = tree.children(node).map(|(name, _)| name.to_vec()).collect();
                assert_eq!(found.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>(), names);
                entries += names.len();
                for ((_, child), (_, child_number)) in tree.children(node).zip(found) {
                    ahead.push((child, child_number, number));
                }
            }
            Kind::File(content) => {
                assert_eq!(inode.size, content.size);
                bytes += if seen.insert(node) { u128::from(content.size) } else { 0 };
                check_content(content, image, &inode);
            }
            Kind::Symlink(target) => assert_eq!(image.bytes(&inode), *target),
            _ => assert_eq!(inode.size, 0),
        }
    }
    assert_eq!(entries, tree.len());
    bytes
}

fn check_content(content: &Content, image: &Image<'_>, inode: &crate::erofs_reader::Inode) {
    if !content.inline.is_empty() {
        assert_eq!(image.bytes(inode), *content.inline);
    }
    let mut end = 0;
    for extent in &content.extents {
        if end < extent.file_offset {
            assert_eq!(image.place(inode, end), None);
            assert_eq!(image.place(inode, extent.file_offset - 1), None);
        }
        end = extent.file_offset + extent.length;
        assert_eq!(image.place(inode, extent.file_offset), Some(extent.image_offset));
        assert_eq!(image.place(inode, end - 1), Some(extent.image_offset + extent.length - 1));
    }
    if content.inline.is_empty() && end < content.size {
        assert_eq!(image.place(inode, content.size - 1), None);
    }
}

fn path(input: &mut Input<'_>) -> Vec<u8> {
    let mut path = Vec::new();
    for _ in 0..input.below(4) {
        let part: &[u8] = match input.below(16) {
            0 => input.bytes(9),
            1 => b"..",
            2 => b".",
            3 => b"",
            4 => &[b'x'; 255],
            _ => input.choose(&[&b"a"[..], b"b", b"c", b"-"]),
        };
        path.extend_from_slice(part);
        path.push(b'/');
    }
    path
}

fn attributes(input: &mut Input<'_>) -> Attributes {
    let mut attributes = Attributes { mode: input.u16() & 0o7777, ..Attributes::default() };
    if input.flag() {
        (attributes.uid, attributes.gid) = (input.u32(), input.u8().into());
        attributes.mtime = input.number().cast_signed();
    }
    for _ in 0..input.below(3) {
        let name = input.choose(&[&b"user.a"[..], b"trusted.b", b"security.c", b"other", b"user."]);
        let length = usize::from(input.u16() % 5000);
        attributes.xattrs.insert(name.to_vec(), vec![b'v'; length]);
    }
    attributes
}

fn kind(input: &mut Input<'_>, writer: &mut Writer) -> Kind {
    match input.below(8) {
        0 => Kind::Fifo,
        1 => Kind::Directory,
        2 => Kind::CharacterDevice { major: input.u16().into(), minor: input.u32() },
        3 | 4 => Kind::Symlink(path(input)),
        _ => {
            let size = input.number();
            let segments: Vec<_> = (0..input.below(4)).map(|_| (input.number(), input.below(5000))).collect();
            let content = writer.store_segments(size, &segments, &mut repeat(input.u8()));
            Kind::File(content.unwrap_or_default())
        }
    }
}
