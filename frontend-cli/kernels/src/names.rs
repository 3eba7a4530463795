//! Which names of releases, kernels and modules are taken: those that are safe as one part of a path.

/// Characters of the longest name.
const MOST_NAME: usize = 128;
/// The kernel's own limit is 56 (`MODULE_NAME_LEN`).
const MOST_MODULE_NAME: usize = 64;

/// Whether `name` can be a kernel's name or a release: `[A-Za-z0-9._+~-]`, not first `.` or `-`.
pub(crate) fn is_release(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._+~-".contains(&byte);
    (1..=MOST_NAME).contains(&name.len()) && !name.starts_with(['.', '-']) && name.bytes().all(allowed)
}

/// Whether `name`, as [`module`] makes it, can be a module's name.
pub(crate) fn is_module(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    (1..=MOST_MODULE_NAME).contains(&name.len()) && name.bytes().all(allowed)
}

/// A module's name as the kernel has it: `-` is `_`.
pub(crate) fn module(name: &str) -> String {
    name.replace('-', "_")
}

/// The module that a file is by its name: `virtio-rng.ko.xz` is `virtio_rng`.
pub(crate) fn module_of_file(file: &str) -> Option<String> {
    let stem = file.strip_suffix(".xz").or_else(|| file.strip_suffix(".zst"));
    let stem = stem.or_else(|| file.strip_suffix(".gz")).unwrap_or(file);
    stem.strip_suffix(".ko").map(module).filter(|name| is_module(name))
}
