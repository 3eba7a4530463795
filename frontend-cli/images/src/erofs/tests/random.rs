//! Any tree comes back.

use std::io::Cursor;

use proptest::prelude::*;

use super::{Maker, bytes, check};
use crate::tree::{Attributes, Kind, components};

/// What is done to a path.
#[derive(Clone, Debug)]
enum Step {
    File(u64),
    Other(Kind),
    Link(String),
    Remove,
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![8 => "[ab.]?[abc]", 2 => "[a-z!-]{1,20}", 1 => "[a-c]{200,255}"]
}

fn path() -> impl Strategy<Value = String> {
    proptest::collection::vec(name(), 1..4).prop_map(|parts| parts.join("/"))
}

fn step() -> impl Strategy<Value = Step> {
    let size = prop_oneof![0..3000_u64, 0..20_000_u64, 0..1_000_000_u64];
    let kind = prop_oneof![
        4 => Just(Kind::Directory),
        1 => Just(Kind::Fifo),
        1 => (0..4096_u32, 0..1_u32 << 20).prop_map(|(major, minor)| Kind::BlockDevice { major, minor }),
        2 => "[abc/.]{1,9}|x{4095}".prop_map(|target| Kind::Symlink(target.into_bytes())),
    ];
    prop_oneof![5 => size.prop_map(Step::File), 4 => kind.prop_map(Step::Other), 2 => path().prop_map(Step::Link), 1 => Just(Step::Remove)]
}

fn attributes() -> impl Strategy<Value = Attributes> {
    let xattr = ("(user|trusted)\\.[a-c]", prop_oneof![4 => "[ab]", 1 => "x{0,3000}"]);
    let xattr = xattr.prop_map(|(name, value)| (name.into_bytes(), value.into_bytes()));
    let time =
        prop_oneof![3 => Just((1_700_000_000, 0)), 1 => (-1000..5_000_000_000_i64, 0..1_000_000_000_u32)];
    let owner = prop_oneof![0..70_000_u32, any::<u32>()];
    (0..0o10000_u16, owner, 0..70_000_u32, time, proptest::collection::vec(xattr, 0..4)).prop_map(
        |(mode, uid, gid, (mtime, mtime_nanos), xattrs)| Attributes {
            mode,
            uid,
            gid,
            mtime,
            mtime_nanos,
            xattrs: xattrs.into_iter().collect(),
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn any_tree_comes_back(steps in proptest::collection::vec((path(), step(), attributes()), 0..120)) {
        let mut maker = Maker::new();
        for (path, step, attributes) in steps {
            let Maker { writer, tree, .. } = &mut maker;
            let path = components(path.as_bytes()).unwrap();
            let result = match step {
                Step::File(size) => {
                    let content = writer.store(size, &mut Cursor::new(bytes(attributes.uid, size))).unwrap();
                    tree.insert(&path, attributes, Kind::File(content))
                }
                Step::Other(kind) => {
                    // Linux gives these attributes only to files and directories.
                    let plain = kind != Kind::Directory;
                    let mut attributes = attributes;
                    attributes.xattrs.retain(|name, _| !plain || !name.starts_with(b"user."));
                    tree.insert(&path, attributes, kind)
                }
                Step::Link(target) => tree.link(&path, &components(target.as_bytes()).unwrap()),
                Step::Remove => tree.remove(&path),
            };
            for content in result.unwrap_or_default() {
                writer.discard(content).unwrap();
            }
        }
        let (image, tree) = maker.finish();
        check(&image, &tree);
    }
}
