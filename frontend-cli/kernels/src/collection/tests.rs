//! Tests of what is taken for part of a kernel, by its path in a package.

use super::*;

#[test]
fn parts_of_kernels_are_known_by_their_place() {
    let piece = |path: &str| classify(path).map(|(release, piece)| (release, format!("{piece:?}")));
    for (path, expected) in [
        ("./boot/vmlinuz-6.1", "Image"),
        ("boot/config-6.1", "Config"),
        ("/usr/lib/modules/6.1/vmlinuz", "Image"),
        ("./lib/modules/6.1/config", "Config"),
        ("lib/modules/6.1/modules.builtin", "BuiltIn"),
        (".//lib/modules/6.1/modules.alias", "Aliases"),
    ] {
        assert_eq!(piece(path), Some((String::from("6.1"), expected.to_owned())), "{path}");
    }
    let module = Piece::Module { name: String::from("a_b"), path: String::from("kernel/x/a-b.ko.xz") };
    assert_eq!(classify("./lib/modules/6.1/kernel/x/a-b.ko.xz"), Some((String::from("6.1"), module)));
}

#[test]
fn other_paths_and_hostile_names_are_nothing() {
    for path in [
        "boot/System.map-6.1",
        "boot/x/vmlinuz-6.1",
        "boot/vmlinuz-",
        "boot/vmlinuz-.6",
        "boot/vmlinuz-a b",
        "lib/modules/../modules/6.1/vmlinuz",
        "lib/modules/-6/vmlinuz",
        "lib/modules/6.1/kernel/x.ko.bz2",
        "lib/modules/6.1/kernel/x y.ko",
        "lib/modules/6.1/kernel/.ko",
        "",
        "/",
    ] {
        assert_eq!(classify(path), None, "{path}");
    }
    let deep = format!("lib/modules/6.1/{}x.ko", "a/".repeat(MOST_DEPTH));
    assert_eq!(classify(&deep), None);
}

#[test]
fn an_updated_module_goes_first_whatever_the_order() {
    for order in [["kernel/x.ko", "updates/x.ko"], ["updates/x.ko", "kernel/x.ko"]] {
        let mut collection = Collection::new(tempfile::tempfile().unwrap());
        for path in order {
            collection.add(format!("lib/modules/6/{path}").as_bytes(), 3, &mut &b"abc"[..]).unwrap();
        }
        collection.finish().unwrap();
        let file = &collection.releases["6"].modules["x"];
        assert_eq!(file.path, "updates/x.ko");
        assert_eq!(collection.bytes(&file.content, 3).unwrap(), b"abc");
        assert!(collection.bytes(&file.content, 2).is_err());
    }
}

#[test]
fn what_a_package_holds_has_limits() {
    let mut collection = Collection::new(tempfile::tempfile().unwrap());
    let error = collection.add(b"boot/vmlinuz-6", u64::MAX, &mut io::repeat(0)).unwrap_err();
    assert!(error.to_string().contains("more than"), "{error}");
    assert!(collection.add(b"boot/vmlinuz-6", 4, &mut &b"abc"[..]).is_err(), "less than it says");
    for index in 0..MOST_RELEASES {
        collection.add(format!("boot/vmlinuz-6.{index}").as_bytes(), 0, &mut io::empty()).unwrap();
    }
    assert!(collection.add(b"boot/vmlinuz-7", 0, &mut io::empty()).is_err());
    for index in 0..MOST_MODULES {
        let path = format!("lib/modules/6.1/m{index}.ko");
        collection.add(path.as_bytes(), 0, &mut io::empty()).unwrap();
    }
    assert!(collection.add(b"lib/modules/6.1/more.ko", 0, &mut io::empty()).is_err());
}
