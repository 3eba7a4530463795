//! The lists that come with a kernel.

use hv_kernels::listing;

/// The bytes are each of the lists.
///
/// # Panics
/// A module's name is none of the kernel's, or a pattern is taken for an alias.
pub fn kernel_lists(data: &[u8]) {
    for name in listing::built_in(data) {
        assert!(!name.is_empty() && name.len() <= 64, "{name:?}");
        assert!(name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'), "{name:?}");
    }
    for (alias, modules) in listing::aliases(data) {
        assert!(!alias.contains(['*', '?', '[', '-', ' ', '\n']) && !modules.is_empty(), "{alias:?}");
    }
    let configuration = listing::Configuration::parse(data);
    assert!(!configuration.is_empty() || configuration.value("CONFIG_EXT4_FS").is_none());
}
