//! Debian packages: the `ar` archive, what it is packed by, the `tar` archive inside.

use hv_kernels::archive::deb;

use crate::{Input, package};

/// The bytes are a package, or the `data.tar` of one, packed or not.
///
/// # Panics
/// See `package::check`.
pub fn debian_package(data: &[u8]) {
    let mut input = Input::new(data);
    if input.u8() < 0x60 {
        return package::check(input.bytes(data.len()), deb::visit);
    }
    let inside = input.bytes(data.len());
    let member = |name: &str, size: usize| format!("{name:<48}{size:<10}`\n").into_bytes();
    let start = [b"!<arch>\n".to_vec(), member("debian-binary", 4), b"2.0\n".to_vec()].concat();
    package::check(&[start, member("data.tar", inside.len()), inside.to_vec()].concat(), deb::visit);
}
