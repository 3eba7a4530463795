//! Tests of load order: soft and hard dependencies, circles, what is missing.

use super::*;
use crate::testing::{RELEASE, depending, gzip, module, xz, zstd};

type Files<'a> = &'a [(&'a str, Vec<u8>)];

fn needs(files: Files<'_>, built_in: &str, name: &str) -> Result<Result<Vec<String>, String>> {
    let mut collection = Collection::new(tempfile::tempfile().unwrap());
    let below = format!("lib/modules/{RELEASE}");
    for (file, bytes) in files {
        let path = format!("{below}/kernel/{file}");
        collection.add(path.as_bytes(), bytes.len() as u64, &mut bytes.as_slice()).unwrap();
    }
    let path = format!("{below}/modules.builtin");
    collection.add(path.as_bytes(), built_in.len() as u64, &mut built_in.as_bytes()).unwrap();
    collection.finish().unwrap();
    let pieces = collection.releases.remove(RELEASE).unwrap();
    Resolver::new(&collection, &pieces, RELEASE, Architecture::X86_64)?.needs(name)
}

fn soft(text: &str) -> Vec<u8> {
    module(62, &[&format!("softdep={text}")])
}

#[test]
fn what_is_needed_comes_before_whatever_needs_it() {
    let files = [
        ("a.ko.xz", xz(&depending("b,c"))),
        ("b.ko.gz", gzip(&depending("d"))),
        ("c.ko.zst", zstd(&depending("d"))),
        ("d.ko", depending("")),
        ("other.ko", b"damaged, and not needed".to_vec()),
    ];
    assert_eq!(needs(&files, "", "a").unwrap().unwrap(), ["d", "b", "c", "a"]);
}

#[test]
fn soft_dependencies_come_by_name_or_alias_or_not_at_all() {
    let files = [
        ("a.ko", soft("pre: some-alias post: late nothing")),
        ("x.ko", module(62, &["alias=some_alias", "depends=d"])),
        ("w.ko", module(62, &["alias=some-alias"])),
        ("broken.ko", module(62, &["alias=some-alias", "depends=d,missing"])),
        ("late.ko", soft("pre: a")),
        ("d.ko", depending("")),
    ];
    assert_eq!(needs(&files, "", "a").unwrap().unwrap(), ["w", "d", "x", "a", "late"]);
}

#[test]
fn soft_circles_are_broken_and_hard_ones_refused() {
    let files = [("a.ko", soft("pre: b")), ("b.ko", soft("pre: a"))];
    assert_eq!(needs(&files, "", "a").unwrap().unwrap(), ["b", "a"]);
    let files = [("a.ko", depending("b")), ("b.ko", depending("c")), ("c.ko", depending("a"))];
    let error = needs(&files, "", "a").unwrap_err().to_string();
    assert!(error.contains("in a circle: a, b, c, a"), "{error}");
}

#[test]
fn a_missing_module_is_named_and_a_built_in_one_is_not_missing() {
    let files = [("a.ko", depending("b")), ("b.ko", depending("c"))];
    let why = needs(&files, "", "a").unwrap().unwrap_err();
    assert_eq!(why, "a.ko depends on b, and b.ko depends on c, and c.ko is not in them");
    assert_eq!(needs(&files, "kernel/c.ko\n", "a").unwrap().unwrap(), ["b", "a"]);
}

#[test]
fn modules_of_other_processors_and_kernels_are_refused() {
    for (bytes, says) in [
        (module(183, &[]), "another processor"),
        (module(62, &["vermagic=5.0 SMP"]), "is of kernel 5.0, not of 6.1.0-7-amd64"),
        (b"\x7fELF".to_vec(), "no 64-bit"),
        (b"\xfd7zXZ\0\0".to_vec(), "cannot unpack module kernel/a.ko"),
    ] {
        let error = format!("{:#}", needs(&[("a.ko", bytes)], "", "a").unwrap_err());
        assert!(error.contains(says), "{error}");
    }
}

#[test]
fn long_and_wide_graphs_end() {
    let chain: Vec<_> =
        (0..200).map(|at| (format!("m{at}.ko"), depending(&format!("m{}", at + 1)))).collect();
    let chain: Vec<_> = chain.iter().map(|(name, bytes)| (name.as_str(), bytes.clone())).collect();
    assert!(needs(&chain, "", "m0").unwrap_err().to_string().contains("wait for one another"));
    // Each waits softly for all that follow, and all of them fail: without memory that is 2^50 visits.
    let wide: Vec<_> = (0..50)
        .map(|at| {
            let later = (at + 1..50).map(|later| format!("m{later} ")).collect::<String>();
            (format!("m{at}.ko"), module(62, &[&format!("softdep=pre: {later}"), "depends=missing"]))
        })
        .collect();
    let wide: Vec<_> = wide.iter().map(|(name, bytes)| (name.as_str(), bytes.clone())).collect();
    assert!(needs(&wide, "", "m0").unwrap().is_err());
}
