//! What archives do to a tree, and what they cannot do.

use std::{collections::BTreeMap, mem::size_of};

use proptest::prelude::*;

use super::*;

fn path(path: &str) -> Vec<&[u8]> {
    components(path.as_bytes()).unwrap()
}

fn file(size: u64) -> Kind {
    Kind::File(Content { size, ..Content::default() })
}

fn link(target: &str) -> Kind {
    Kind::Symlink(target.as_bytes().to_vec())
}

fn insert(tree: &mut Tree, at: &str, kind: Kind) -> Vec<u64> {
    sizes(tree.insert(&path(at), Attributes::default(), kind).unwrap())
}

fn sizes(freed: Vec<Content>) -> Vec<u64> {
    let mut sizes: Vec<_> = freed.into_iter().map(|content| content.size).collect();
    sizes.sort_unstable();
    sizes
}

/// All paths with what is there: a directory, or the size of a file, or the target of a link.
fn listing(tree: &Tree) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut ahead = vec![(String::new(), Tree::ROOT)];
    while let Some((above, directory)) = ahead.pop() {
        for (name, node) in tree.children(directory) {
            let path = format!("{above}{}", name.escape_ascii());
            let what = match tree.kind(node) {
                Kind::Directory => "/".to_owned(),
                Kind::File(content) => content.size.to_string(),
                Kind::Symlink(target) => format!("-> {}", target.escape_ascii()),
                _ => "special".to_owned(),
            };
            if what == "/" {
                ahead.push((format!("{path}/"), node));
            }
            found.insert(path, what);
        }
    }
    found
}

fn lists(tree: &Tree, expected: &[(&str, &str)]) {
    let expected: BTreeMap<_, _> =
        expected.iter().map(|(path, what)| ((*path).to_owned(), (*what).to_owned())).collect();
    assert_eq!(listing(tree), expected);
    assert_eq!(tree.len(), expected.len());
}

#[test]
fn missing_directories_are_made_and_told_of_later() {
    let mut tree = Tree::new(10);
    insert(&mut tree, "a/b/c", file(1));
    lists(&tree, &[("a", "/"), ("a/b", "/"), ("a/b/c", "1")]);
    let made = tree.lookup(&path("a/b")).unwrap();
    assert_eq!((tree.attributes(made).mode, tree.attributes(made).uid), (0o755, 0));
    let attributes = Attributes { mode: 0o700, uid: 5, ..Attributes::default() };
    assert_eq!(tree.insert(&path("a/b"), attributes.clone(), Kind::Directory), Ok(vec![]));
    assert_eq!(*tree.attributes(made), attributes);
    assert_eq!(tree.insert(&[], attributes.clone(), Kind::Directory), Ok(vec![]));
    assert_eq!(*tree.attributes(Tree::ROOT), attributes);
    lists(&tree, &[("a", "/"), ("a/b", "/"), ("a/b/c", "1")]);
}

#[test]
fn what_is_replaced_is_handed_back() {
    let mut tree = Tree::new(20);
    for (at, size) in [("a/b/one", 1), ("a/b/two", 2), ("a/c", 3), ("d", 4)] {
        assert_eq!(insert(&mut tree, at, file(size)), [0_u64; 0]);
    }
    assert_eq!(insert(&mut tree, "d", file(5)), [4]);
    assert_eq!(insert(&mut tree, "d", Kind::Directory), [5]);
    assert_eq!(insert(&mut tree, "a/b", file(6)), [1, 2]);
    lists(&tree, &[("a", "/"), ("a/b", "6"), ("a/c", "3"), ("d", "/")]);
    assert_eq!(sizes(tree.remove(&path("a")).unwrap()), [3, 6]);
    assert_eq!(tree.remove(&path("a")), Ok(vec![]));
    assert_eq!(tree.remove(&path("x/y")), Ok(vec![]));
    lists(&tree, &[("d", "/")]);
    assert_eq!(tree.remove(&[]), Err(Error::Root));
    assert_eq!(tree.insert(&[], Attributes::default(), file(1)), Err(Error::Root));
}

#[test]
fn places_are_used_again() {
    let mut tree = Tree::new(3);
    for _ in 0..1000 {
        insert(&mut tree, "a/b/c", file(1));
        assert_eq!(sizes(tree.remove(&path("a")).unwrap()), [1]);
    }
    assert_eq!((tree.places(), tree.nodes().count(), tree.held), (4, 1, 0));
}

#[test]
fn hard_links_are_one_file_until_the_last_name_goes() {
    let mut tree = Tree::new(10);
    insert(&mut tree, "a/b", file(1));
    insert(&mut tree, "old", file(2));
    assert_eq!(sizes(tree.link(&path("old"), &path("a/b")).unwrap()), [2]);
    assert_eq!(tree.link(&path("a/b"), &path("old")), Ok(vec![]));
    let node = tree.lookup(&path("old")).unwrap();
    assert_eq!((tree.lookup(&path("a/b")), tree.names(node)), (Some(node), 2));
    // The directory that the target is in goes away; the file has its new name.
    assert_eq!(tree.link(&path("a"), &path("a/b")), Ok(vec![]));
    lists(&tree, &[("a", "1"), ("old", "1")]);
    assert_eq!(insert(&mut tree, "a", file(3)), [0_u64; 0]);
    assert_eq!(insert(&mut tree, "old", file(4)), [1]);
    assert_eq!(tree.link(&path("x"), &path("none")), Err(Error::NoTarget("none".to_owned())));
    insert(&mut tree, "d", Kind::Directory);
    assert_eq!(tree.link(&path("x"), &path("d")), Err(Error::LinkToDirectory("d".to_owned())));
    assert_eq!(tree.link(&path("x"), &[]), Err(Error::LinkToDirectory(String::new())));
    // A link to a link is one to the link itself.
    insert(&mut tree, "s", link("d"));
    tree.link(&path("t"), &path("s")).unwrap();
    lists(&tree, &[("a", "3"), ("d", "/"), ("old", "4"), ("s", "-> d"), ("t", "-> d")]);
}

#[test]
fn entries_below_links_stay_inside_the_root() {
    let mut tree = Tree::new(40);
    insert(&mut tree, "usr/lib/x", file(1));
    insert(&mut tree, "lib", link("usr/lib"));
    insert(&mut tree, "up", link("../../../usr"));
    insert(&mut tree, "absolute", link("/usr//./lib/"));
    insert(&mut tree, "usr/dangling", link("../made/here"));
    insert(&mut tree, "lib/one", file(2));
    insert(&mut tree, "up/lib/two", file(3));
    insert(&mut tree, "absolute/three", file(4));
    insert(&mut tree, "usr/dangling/four", file(5));
    tree.link(&path("lib/five"), &path("absolute/three")).unwrap();
    let expected = [
        ("absolute", "-> /usr//./lib/"),
        ("lib", "-> usr/lib"),
        ("made", "/"),
        ("made/here", "/"),
        ("made/here/four", "5"),
        ("up", "-> ../../../usr"),
        ("usr", "/"),
        ("usr/dangling", "-> ../made/here"),
        ("usr/lib", "/"),
        ("usr/lib/five", "4"),
        ("usr/lib/one", "2"),
        ("usr/lib/three", "4"),
        ("usr/lib/two", "3"),
        ("usr/lib/x", "1"),
    ];
    lists(&tree, &expected);
    assert_eq!(tree.lookup(&path("lib/x")), None);
    assert_eq!(tree.resolve(&path("lib/x")), Ok(tree.lookup(&path("usr/lib/x"))));
    assert_eq!(tree.resolve(&path("lib")), Ok(tree.lookup(&path("usr/lib"))));
    assert_eq!(tree.resolve(&path("lib/none")), Ok(None));
    // Removal goes through links to the name, and takes links themselves.
    assert_eq!(sizes(tree.remove(&path("lib/x")).unwrap()), [1]);
    assert_eq!(sizes(tree.remove(&path("lib")).unwrap()), [0_u64; 0]);
    assert!(tree.lookup(&path("usr/lib")).is_some());
}

#[test]
fn links_in_a_circle_and_files_as_directories_are_refused() {
    let mut tree = Tree::new(100);
    insert(&mut tree, "a", link("b"));
    insert(&mut tree, "b", link("a"));
    insert(&mut tree, "f", file(1));
    insert(&mut tree, "to_f", link("f"));
    for number in 0..41 {
        insert(&mut tree, &format!("l{number}"), link(&format!("l{}", number + 1)));
    }
    insert(&mut tree, "l41", Kind::Directory);
    let mut try_at = |at: &str| tree.insert(&path(at), Attributes::default(), file(1));
    assert_eq!(try_at("a/x"), Err(Error::Links("a".to_owned())));
    assert_eq!(try_at("l0/x"), Err(Error::Links("l0".to_owned())));
    assert_eq!(try_at("l1/x"), Ok(vec![]));
    assert_eq!(try_at("f/x"), Err(Error::NotADirectory("f".to_owned())));
    assert_eq!(try_at("f/x/y"), Err(Error::NotADirectory("f/x".to_owned())));
    assert_eq!(try_at("to_f/x"), Err(Error::NotADirectory("to_f".to_owned())));
    assert_eq!(tree.remove(&path("f/x")), Ok(vec![]));
    assert_eq!(tree.clear(&path("f")), Ok(vec![]));
    assert!(tree.resolve(&path("a")).is_err());
}

#[test]
fn an_opaque_directory_keeps_what_its_layer_brought() {
    let mut tree = Tree::new(20);
    for (at, size) in [("d/old", 1), ("d/sub/old", 2), ("d/other/old", 3)] {
        insert(&mut tree, at, file(size));
    }
    tree.begin_layer();
    insert(&mut tree, "d/new", file(4));
    insert(&mut tree, "d/sub/new", file(5));
    insert(&mut tree, "to_d", link("d"));
    assert_eq!(sizes(tree.clear(&path("to_d")).unwrap()), [1, 2, 3]);
    lists(&tree, &[("d", "/"), ("d/new", "4"), ("d/sub", "/"), ("d/sub/new", "5"), ("to_d", "-> d")]);
    assert_eq!(tree.hide(&path("d")), Ok(vec![]));
    assert_eq!(tree.hide(&path("d/new")), Ok(vec![]));
    tree.begin_layer();
    assert_eq!(sizes(tree.hide(&path("d/new")).unwrap()), [4]);
    insert(&mut tree, "d/other", file(6));
    assert_eq!(sizes(tree.hide(&path("d")).unwrap()), [5]);
    tree.begin_layer();
    assert_eq!(sizes(tree.clear(&path("d")).unwrap()), [6]);
    assert_eq!(tree.clear(&path("none")), Ok(vec![]));
    lists(&tree, &[("d", "/"), ("to_d", "-> d")]);
    let mut single = Tree::new(2);
    insert(&mut single, "d/f", file(1));
    assert_eq!(sizes(single.clear(&[]).unwrap()), [1]);
    lists(&single, &[]);
}

#[test]
fn names_that_are_none_are_refused() {
    assert_eq!(components(b"./a//b/."), Ok(vec![&b"a"[..], b"b"]));
    assert_eq!(components(b"/"), Ok(vec![]));
    let long = "x".repeat(256);
    for bad in ["..", "a/../b", "a\0", &long] {
        assert!(matches!(components(bad.as_bytes()), Err(Error::Name(_))), "{bad:?}");
    }
    assert!(components("x".repeat(255).as_bytes()).is_ok());
    let mut tree = Tree::new(10);
    for bad in [&b"."[..], b"..", b"", b"a/b", b"\0", long.as_bytes()] {
        let error = tree.insert(&[b"a", bad], Attributes::default(), file(1)).unwrap_err();
        assert!(matches!(error, Error::Name(_)) && error.to_string().len() < 300, "{error}");
        assert!(tree.link(&[bad], &[b"a"]).is_err() && tree.remove(&[bad, b"a"]).is_err());
    }
    insert(&mut tree, "link", link(&long));
    assert!(tree.insert(&path("link/x"), Attributes::default(), file(1)).is_err());
    lists(&tree, &[("link", &format!("-> {long}"))]);
}

#[test]
fn limits_hold() {
    let mut tree = Tree::new(3);
    insert(&mut tree, "a/b", file(1));
    insert(&mut tree, "c", file(1));
    assert_eq!(tree.insert(&path("d"), Attributes::default(), file(1)), Err(Error::Entries(3)));
    assert_eq!(tree.link(&path("d"), &path("c")), Err(Error::Entries(3)));
    assert_eq!(tree.names(tree.lookup(&path("c")).unwrap()), 1);
    assert_eq!(sizes(tree.link(&path("c"), &path("a/b")).unwrap()), [1]);
    assert_eq!(insert(&mut tree, "c", file(1)), [0_u64; 0]);
    let deep = vec![&b"x"[..]; MOST_DEPTH];
    let mut tree = Tree::new(10_000);
    assert!(tree.insert(&deep, Attributes::default(), Kind::Directory).is_ok());
    insert(&mut tree, "l", link(&"x/".repeat(2000)));
    let beyond: Vec<_> = [&b"l"[..]].into_iter().chain(vec![&b"x"[..]; 48]).chain([&b"y"[..]; 2]).collect();
    assert!(matches!(tree.insert(&beyond, Attributes::default(), file(1)), Err(Error::Depth(_))));
    assert_eq!(sizes(tree.remove(&path("x")).unwrap()), [0_u64; 0]);
    let refused = |attributes: Attributes, kind: Kind| {
        let error = Tree::new(3).insert(&path("a"), attributes, kind).unwrap_err();
        assert!(matches!(error, Error::Attribute { .. }), "{error}");
    };
    let plain = Attributes::default;
    refused(Attributes { mode: 0o10000, ..plain() }, file(1));
    refused(Attributes { mtime_nanos: 1_000_000_000, ..plain() }, file(1));
    let xattr = |name: &str, size: usize| (name.as_bytes().to_vec(), vec![0; size]);
    refused(Attributes { xattrs: [xattr("", 1)].into(), ..plain() }, file(1));
    refused(Attributes { xattrs: [xattr("user.a", 65536)].into(), ..plain() }, file(1));
    refused(
        Attributes { xattrs: [xattr("user.a", 40000), xattr("user.b", 40000)].into(), ..plain() },
        file(1),
    );
    refused(plain(), link(""));
    refused(plain(), link(&"x".repeat(4096)));
    refused(plain(), link("a\0b"));
    refused(plain(), Kind::BlockDevice { major: 4096, minor: 0 });
    refused(plain(), Kind::CharacterDevice { major: 0, minor: 1 << 20 });
    refused(plain(), Kind::File(Content { size: 3, inline: Box::new([0; 2]), ..Content::default() }));
}

#[test]
fn all_that_is_held_is_bounded() {
    let mut tree = Tree::new(100_000);
    let attributes =
        Attributes { xattrs: [(b"user.a".to_vec(), vec![0; 65_000])].into(), ..Attributes::default() };
    tree.held = MOST_HELD - 65_000;
    assert_eq!(tree.insert(&path("a"), attributes.clone(), file(1)), Err(Error::Held));
    assert_eq!(tree.insert(&[], attributes.clone(), Kind::Directory), Err(Error::Held));
    tree.held -= 100;
    assert_eq!(tree.insert(&path("a"), attributes, file(1)), Ok(vec![]));
}

#[test]
fn a_million_files_fit_in_memory() {
    // A node, its name in its directory (a sixth of a B-tree's leaf is free on average), the name and the extent.
    let each = size_of::<Node>() + (size_of::<(Box<[u8]>, NodeId)>() + 4) * 6 / 5 + 32 + 32;
    assert!(each <= 300, "{each} bytes");
}

proptest! {
    #[test]
    fn no_path_leads_out_or_leaks(
        steps in proptest::collection::vec(
            (0..5_u8, "[ab]{1}(/[abc]){0,3}", "(/|\\.\\./|\\./)?[abc](/(\\.\\.|[abc])){0,3}", 1..1000_u64), 1..60
        )
    ) {
        let mut tree = Tree::new(30);
        let (mut inserted, mut freed) = (0, 0);
        for (step, at, other, size) in steps {
            let at = path(&at);
            let result = match step {
                0 | 1 => {
                    let result = tree.insert(&at, Attributes::default(), file(size));
                    inserted += if result.is_ok() { size } else { 0 };
                    result
                }
                2 => tree.insert(&at, Attributes::default(), link(&other)),
                3 => components(other.as_bytes()).and_then(|other| tree.link(&at, &other)),
                _ => tree.remove(&at),
            };
            // What a refused insertion had taken away is not counted.
            if matches!(result, Err(Error::Entries(_))) {
                return Ok(());
            }
            freed += result.map_or(0, |freed| freed.iter().map(|content| content.size).sum());
        }
        let names: u32 = tree.nodes().filter(|node| *node != Tree::ROOT).map(|node| match tree.kind(node) {
            Kind::Directory => 1,
            _ => tree.names(node),
        }).sum();
        prop_assert_eq!(names as usize, tree.len());
        let left: u64 = tree.nodes().map(|node| match tree.kind(node) {
            Kind::File(content) => content.size,
            _ => 0,
        }).sum();
        prop_assert_eq!(inserted, freed + left);
        for name in tree.children(Tree::ROOT).map(|(name, _)| name.to_vec()).collect::<Vec<_>>() {
            freed += tree.remove(&[&name]).unwrap().iter().map(|content| content.size).sum::<u64>();
        }
        prop_assert_eq!((tree.len(), tree.held, inserted), (0, 0, freed));
    }
}
