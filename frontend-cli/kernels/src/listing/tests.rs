//! Tests of the lists.

use super::*;

#[test]
fn built_in_modules_are_named_as_the_kernel_does() {
    let found =
        built_in(b"kernel/drivers/char/hw_random/virtio-rng.ko\nkernel/fs/ext4/ext4.ko\n\nbad\n\xff.ko\n");
    assert_eq!(found.into_iter().collect::<Vec<_>>(), ["ext4", "virtio_rng"]);
}

#[test]
fn aliases_are_read_without_patterns() {
    let found = aliases(
        b"# Aliases\nalias crypto-crc32c crc32c_intel\nalias crypto-crc32c crc32c-generic\nalias pci:* x\n",
    );
    assert_eq!(found.len(), 1);
    assert_eq!(found["crypto_crc32c"], ["crc32c_intel", "crc32c_generic"]);
}

#[test]
fn options_that_are_not_set_have_no_value() {
    let found = Configuration::parse(b"# CONFIG_A is not set\nCONFIG_B=y\nCONFIG_C=m\r\nCONFIG_D=\"text\"\n");
    let value = |option| found.value(option);
    assert_eq!([value("CONFIG_A"), value("CONFIG_B"), value("CONFIG_C")], [None, Some("y"), Some("m")]);
    assert!(Configuration::parse(b"hello").is_empty());
}
