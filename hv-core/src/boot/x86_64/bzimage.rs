//! The bzImage: a packed Linux kernel with a setup header (Documentation/arch/x86/boot.rst).

use super::{super::field, BootError, KERNEL_FLOOR, Kernel, PayloadFile, Protocol, Start, elf::Segment};

// Offsets in the file and, from SETUP_HEADER on, in the boot parameters too.
const SETUP_HEADER: usize = 0x1f1;
const SETUP_SECTS: usize = 0x1f1;
const SYSSIZE: usize = 0x1f4;
const BOOT_FLAG: usize = 0x1fe;
const JUMP: usize = 0x200;
const HEADER: usize = 0x202;
const VERSION: usize = 0x206;
const LOADFLAGS: usize = 0x211;
const INITRD_ADDR_MAX: usize = 0x22c;
const RELOCATABLE_KERNEL: usize = 0x234;
const XLOADFLAGS: usize = 0x236;
const CMDLINE_SIZE: usize = 0x238;
const PREF_ADDRESS: usize = 0x258;
const INIT_SIZE: usize = 0x260;
/// The boot parameters have no room for a longer setup header.
const SETUP_HEADER_END: usize = 0x290;

const LOADED_HIGH: u8 = 1;
const XLF_KERNEL_64: u16 = 1;
/// The first protocol with `xloadflags`.
const VERSION_2_12: u16 = 0x20c;
const SECTOR: u64 = 512;
/// The 64-bit entry, from the load address.
const ENTRY: u64 = 0x200;

/// Whether a file that begins with `head` has a Linux setup header.
pub(super) fn is_one(head: &[u8]) -> bool {
    let at = |offset, mark: &[u8]| head.get(offset..).is_some_and(|bytes: &[u8]| bytes.starts_with(mark));
    at(BOOT_FLAG, b"\x55\xaa") && at(HEADER, b"HdrS")
}

/// Checks the bzImage `file` of `size` bytes that begins with `head`.
pub(super) fn inspect(
    file: &PayloadFile,
    size: u64,
    head: &[u8],
    protocol: Option<Protocol>,
) -> Result<Kernel, BootError> {
    let truncated = || file.error("is a truncated bzImage: fetch or build it again");
    let byte = |offset| head.get(offset).copied().ok_or_else(truncated);
    let half = |offset| field::u16(head, offset).ok_or_else(truncated);
    let word = |offset| field::u32(head, offset).ok_or_else(truncated);
    if protocol == Some(Protocol::Pvh) {
        return Err(file.error("is a bzImage, which has no PVH entry: give the ELF vmlinux"));
    }
    let version = half(VERSION)?;
    if version < VERSION_2_12 || half(XLOADFLAGS)? & XLF_KERNEL_64 == 0 || byte(LOADFLAGS)? & LOADED_HIGH == 0
    {
        let (major, minor) = (version >> 8, version & 0xff);
        return Err(file.error(format!(
            "has no 64-bit entry (boot protocol {major}.{minor:02}): give an x86_64 kernel, version 3.8 or later"
        )));
    }

    let setup_sectors = match byte(SETUP_SECTS)? {
        0 => 4,
        sectors => u64::from(sectors),
    };
    let offset = (setup_sectors + 1) * SECTOR;
    // In units of 16 bytes; the last one need not be whole in the file.
    let packed = u64::from(word(SYSSIZE)?) * 16;
    let in_file =
        size.checked_sub(offset).filter(|rest| rest.saturating_add(15) >= packed).ok_or_else(truncated)?;
    let preferred = field::u64(head, PREF_ADDRESS).ok_or_else(truncated)?;
    let address = if byte(RELOCATABLE_KERNEL)? == 0 { KERNEL_FLOOR } else { preferred };
    let needs = preferred.checked_add(u64::from(word(INIT_SIZE)?));
    let end = needs.zip(address.checked_add(packed)).map(|(needs, end)| needs.max(end));
    let damaged = || file.error("is a damaged bzImage: its header makes no sense; fetch or build it again");
    let end = end.filter(|_| address >= KERNEL_FLOOR && packed > ENTRY).ok_or_else(damaged)?;

    let length = packed.min(in_file);
    let header_end = (JUMP + 2 + usize::from(byte(JUMP + 1)?)).min(SETUP_HEADER_END);
    Ok(Kernel {
        segments: vec![Segment { offset, address, file_size: length, memory_size: length }],
        end,
        start: Start::Linux64 {
            entry: address + ENTRY,
            setup_header: head.get(SETUP_HEADER..header_end).ok_or_else(truncated)?.to_vec(),
        },
        command_line_limit: usize::try_from(word(CMDLINE_SIZE)?).unwrap_or(usize::MAX),
        initrd_limit: u64::from(word(INITRD_ADDR_MAX)?) + 1,
    })
}
