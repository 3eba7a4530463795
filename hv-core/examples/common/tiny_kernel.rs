//! Kernels of a few instructions, for examples that bring their guest along.

use std::{
    io::{self, Write},
    time::SystemTime,
};

use hv_core::{
    arch::{Aarch64, X86_64},
    boot::{Payload, PayloadFile},
    io::Threads,
    machine::board::{Board, Parts, VirtioDevices},
};

/// The same guest for each architecture: instructions that run wherever they are loaded.
pub(crate) struct Code {
    pub(crate) x86_64: &'static [u8],
    pub(crate) aarch64: &'static [u32],
}

/// An architecture whose kernels can be made here.
pub(crate) trait TinyKernel: Board {
    /// The file of a kernel with these instructions.
    fn kernel(code: &Code) -> Vec<u8>;

    /// What a machine with that kernel is made of.
    fn parts(code: &Code, serial: impl Write + Send + 'static, virtio: VirtioDevices) -> io::Result<Parts> {
        let mut file = tempfile::tempfile()?;
        file.write_all(&Self::kernel(code))?;
        let kernel = PayloadFile::kernel(file, "tiny");
        let payload = Payload { kernel, initrd: None, command_line: String::new() };
        let (serial, clock) = (Box::new(serial), Box::new(SystemTime::now));
        Ok(Parts { payload, serial, clock, virtio, threads: Threads::of_any_kind() })
    }
}

/// An ELF file of one segment, loaded at 1 MiB.
impl TinyKernel for X86_64 {
    fn kernel(code: &Code) -> Vec<u8> {
        const HEADERS: u64 = 64 + 56;
        const ADDRESS: u64 = 1 << 20;
        let size = HEADERS + code.x86_64.len() as u64;
        // An executable for x86_64, its entry, and where its one program header is.
        let mut elf = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0\x01\0\0\0".to_vec();
        elf.extend([ADDRESS + HEADERS, 64, 0].into_iter().flat_map(u64::to_le_bytes));
        elf.extend(b"\0\0\0\0\x40\0\x38\0\x01\0\0\0\0\0\0\0");
        // The whole file is loaded, readable, writable and executable.
        elf.extend(b"\x01\0\0\0\x07\0\0\0");
        elf.extend([0, ADDRESS, ADDRESS, size, size, 0x1000].into_iter().flat_map(u64::to_le_bytes));
        elf.extend(code.x86_64);
        elf
    }
}

/// An Image: a header that begins with a branch over itself, and what it branches to.
impl TinyKernel for Aarch64 {
    fn kernel(code: &Code) -> Vec<u8> {
        const BRANCH: u64 = 0x1400_0010;
        let size = 64 + code.aarch64.len() as u64 * 4;
        let mut image: Vec<u8> =
            [BRANCH, 0, size, 0, 0, 0, 0].into_iter().flat_map(u64::to_le_bytes).collect();
        image.extend(b"ARM\x64\0\0\0\0");
        image.extend(code.aarch64.iter().flat_map(|instruction| instruction.to_le_bytes()));
        image
    }
}
