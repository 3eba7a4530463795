//! The loader of ELF kernels by Linux's 64-bit entry, and of files that are nothing.

use hv_core::boot::x86_64::Protocol;

use crate::{
    Input, kernels,
    payload::{check_load, mutate},
};

/// A valid kernel with changes, or the bytes as they are.
///
/// # Panics
/// The loader writes where it may not, or refuses in more than one line.
pub fn elf(data: &[u8]) {
    let mut input = Input::new(data);
    let (raw, initrd, command_line) = (input.u8() < 0x40, input.flag(), usize::from(input.u8()) * 9);
    let protocol = input.choose(&[None, None, Some(Protocol::Linux64)]);
    let kernel = if raw {
        input.bytes(data.len()).to_vec()
    } else {
        mutate(kernels::vmlinux(), &kernels::VMLINUX_FIELDS, &mut input)
    };
    check_load(&kernel, initrd, command_line, protocol);
}
