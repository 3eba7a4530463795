//! RPM packages: the headers, what it is packed by, the `cpio` archive inside.

use hv_kernels::archive::rpm;

use crate::{Input, package};

/// The bytes are a package, or the payload of one, packed or not.
///
/// # Panics
/// See `package::check`.
pub fn rpm_package(data: &[u8]) {
    let mut input = Input::new(data);
    if input.u8() < 0x60 {
        return package::check(input.bytes(data.len()), rpm::visit);
    }
    let mut package = b"\xed\xab\xee\xdb\x03".to_vec();
    package.resize(96, 0);
    // Two headers without entries.
    for _ in 0..2 {
        package.extend(b"\x8e\xad\xe8\x01\0\0\0\0\0\0\0\0\0\0\0\0");
    }
    package.extend(input.bytes(data.len()));
    package::check(&package, rpm::visit);
}
