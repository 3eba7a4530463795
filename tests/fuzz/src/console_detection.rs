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
    let raw = input.u8() < 0x40;
    let transport = input.choose(&[Transport::Pci, Transport::Mmio]);
    let bytes = if raw {
        input.bytes(data.len()).to_vec()
    } else {
        mutate(kernels::vmlinux(), &kernels::VMLINUX_FIELDS, &mut input)
    };
    let kernel = PayloadFile::kernel(file(&bytes), "/nowhere/vmlinuz");
    let found = console_driver(&kernel, transport);
    assert_eq!(found, console_driver(&kernel, transport));
    let named = bytes.windows(13).any(|name| name == b"virtio-ports\0");
    assert!(named || found != ConsoleDriver::Virtio);
    assert!(!bytes.is_empty() || found == ConsoleDriver::Unknown);
}
