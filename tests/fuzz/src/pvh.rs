//! The loader of ELF kernels by PVH.

use hv_core::boot::x86_64::Protocol;

use crate::{
    Input, kernels,
    payload::{check_load, mutate},
};

/// A valid kernel with changes to headers and notes.
///
/// # Panics
/// The loader writes where it may not, or refuses in more than one line.
pub fn pvh(data: &[u8]) {
    let mut input = Input::new(data);
    let (initrd, command_line) = (input.flag(), usize::from(input.u8()) * 9);
    let kernel = mutate(kernels::vmlinux(), &kernels::VMLINUX_FIELDS, &mut input);
    check_load(&kernel, initrd, command_line, Some(Protocol::Pvh));
}
