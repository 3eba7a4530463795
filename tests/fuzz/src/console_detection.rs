//! Which console a kernel has, found in its ELF file.

use hv_core::{
    boot::{
        PayloadFile,
        console::{ConsoleDriver, console_driver},
    },
    virtio::Transport,
};

use crate::{
    Input, kernels,
    payload::{file, mutate},
};

/// A valid kernel with changes, or the bytes as they are.
///
/// The answer is the same twice; a driver is found only where its name is.
///
/// # Panics
/// One of these is not so.
pub fn console_detection(data: &[u8]) {
    let mut input = Input::new(data);
    let kind = input.u8();
    let transport = input.choose(&[Transport::Pci, Transport::Mmio]);
    let bytes = match kind {
        0..=0x3f => input.bytes(data.len()).to_vec(),
        0x40..=0x5f => mutate(kernels::arm64_image(), &kernels::ARM64_FIELDS, &mut input),
        _ => mutate(kernels::vmlinux(), &kernels::VMLINUX_FIELDS, &mut input),
    };
    let kernel = PayloadFile::kernel(file(&bytes), "/nowhere/vmlinuz");
    let found = console_driver(&kernel, transport);
    assert_eq!(found, console_driver(&kernel, transport));
    let named = bytes.windows(13).any(|name| name == b"virtio-ports\0");
    assert!(named || found != ConsoleDriver::Virtio);
    assert!(!bytes.is_empty() || found == ConsoleDriver::Unknown);
}
