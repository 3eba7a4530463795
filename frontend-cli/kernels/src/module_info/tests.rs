//! Tests of modules' own words.

use super::*;
use crate::testing::module;

#[test]
fn a_module_says_what_it_needs() {
    let bytes = module(
        183,
        &[
            "depends=virtio-ring,virtio",
            "softdep=ignored pre: crypto-crc32c x post: y",
            "softdep=pre: z",
            "alias=crypto-crc32c",
            "alias=pci:v00001AF4d*",
            "name=some_thing",
            "vermagic=6.1.0-50-arm64 SMP mod_unload",
            "no equals sign",
        ],
    );
    let strings = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let expected = ModuleInfo {
        machine: 183,
        release: Some(String::from("6.1.0-50-arm64")),
        depends: strings(&["virtio_ring", "virtio"]),
        soft_before: strings(&["crypto_crc32c", "x", "z"]),
        soft_after: strings(&["y"]),
        aliases: strings(&["crypto_crc32c"]),
    };
    assert_eq!(parse(&bytes).unwrap(), expected);
}

#[test]
fn truncated_and_other_files_are_refused() {
    let bytes = module(62, &["depends=a"]);
    for end in 0..bytes.len() {
        assert!(parse(&bytes[..end]).is_err(), "{end} bytes");
    }
    let mut wide = bytes.clone();
    wide[4] = 1;
    assert!(parse(&wide).is_err());
    let many = format!("depends={}", "a,".repeat(MOST_NAMES + 1));
    assert!(parse(&module(62, &[&many])).is_err());
}

#[test]
fn sections_that_lie_are_no_harm() {
    let bytes = module(62, &["depends=a"]);
    for at in 0..bytes.len() {
        for value in [0, 1, 0x7f, 0xff] {
            let mut bytes = bytes.clone();
            bytes[at] = value;
            let _ = parse(&bytes);
        }
    }
}
