//! The loader of bzImages.

use crate::{
    Input, kernels,
    payload::{check_load, mutate},
};

/// A valid bzImage with changes to its header.
///
/// # Panics
/// The loader writes where it may not, or refuses in more than one line.
pub fn bzimage(data: &[u8]) {
    let mut input = Input::new(data);
    let (initrd, command_line) = (input.flag(), usize::from(input.u8()) * 9);
    let kernel = mutate(kernels::bzimage(), &kernels::BZIMAGE_FIELDS, &mut input);
    check_load(&kernel, initrd, command_line, None);
}
