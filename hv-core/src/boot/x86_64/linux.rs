//! Linux's boot parameters, the "zero page" (Documentation/arch/x86/zero-page.rst).

use std::ops::Range;

use vm_memory::{Bytes, GuestAddress};

use super::{BootError, COMMAND_LINE, START_INFORMATION, Target, memory_map};

const SIZE: usize = 4096;
// Offsets in the boot parameters. Those not written stay zero: no screen, no EDD, no EFI.
const ACPI_RSDP_ADDR: usize = 0x070;
const E820_ENTRIES: usize = 0x1e8;
const SETUP_HEADER: usize = 0x1f1;
const BOOT_FLAG: usize = 0x1fe;
const HEADER: usize = 0x202;
const VERSION: usize = 0x206;
const TYPE_OF_LOADER: usize = 0x210;
const LOADFLAGS: usize = 0x211;
const RAMDISK_IMAGE: usize = 0x218;
const RAMDISK_SIZE: usize = 0x21c;
const CMD_LINE_PTR: usize = 0x228;
const KERNEL_ALIGNMENT: usize = 0x230;
const SETUP_HEADER_OF_ELF_END: usize = 0x268;
const E820_TABLE: usize = 0x2d0;
const E820_ENTRY_SIZE: usize = 20;
const MOST_E820_ENTRIES: usize = 128;

const LOADED_HIGH: u8 = 1;
/// A loader without a number of its own.
const UNDEFINED_LOADER: u8 = 0xff;
/// Boot protocol 2.15.
const PROTOCOL: u16 = 0x20f;

/// The setup header for an ELF kernel, whose file has none.
pub(super) fn setup_header_of_elf() -> Vec<u8> {
    let mut header = vec![0; SETUP_HEADER_OF_ELF_END - SETUP_HEADER];
    let mut put = |offset: usize, bytes: &[u8]| put(&mut header, offset - SETUP_HEADER, bytes);
    put(BOOT_FLAG, &0xaa55_u16.to_le_bytes());
    put(HEADER, b"HdrS");
    put(VERSION, &PROTOCOL.to_le_bytes());
    put(LOADFLAGS, &[LOADED_HIGH]);
    put(KERNEL_ALIGNMENT, &0x20_0000_u32.to_le_bytes());
    header
}

/// Writes the boot parameters; `setup_header` ends before the end of their page.
pub(super) fn write_boot_params(
    target: &Target<'_>,
    setup_header: &[u8],
    initrd: &Range<u64>,
) -> Result<(), BootError> {
    let page = boot_params(target, setup_header, initrd);
    Ok(target.ram.write_slice(&page, GuestAddress(START_INFORMATION))?)
}

pub(super) fn boot_params(target: &Target<'_>, setup_header: &[u8], initrd: &Range<u64>) -> Vec<u8> {
    let mut page = vec![0; SIZE];
    put(&mut page, SETUP_HEADER, setup_header);
    put(&mut page, TYPE_OF_LOADER, &[UNDEFINED_LOADER]);
    put(&mut page, ACPI_RSDP_ADDR, &target.rsdp.to_le_bytes());
    put(&mut page, CMD_LINE_PTR, &low(COMMAND_LINE));
    if !initrd.is_empty() {
        put(&mut page, RAMDISK_IMAGE, &low(initrd.start));
        put(&mut page, RAMDISK_SIZE, &low(initrd.end - initrd.start));
    }
    let mut entries = 0_u8;
    let map = memory_map(target.layout, target.reserved);
    for (index, entry) in map.iter().take(MOST_E820_ENTRIES).enumerate() {
        let at = E820_TABLE + index * E820_ENTRY_SIZE;
        put(&mut page, at, &entry.range.start.to_le_bytes());
        put(&mut page, at + 8, &(entry.range.end - entry.range.start).to_le_bytes());
        put(&mut page, at + 16, &(entry.kind as u32).to_le_bytes());
        entries += 1;
    }
    put(&mut page, E820_ENTRIES, &[entries]);
    page
}

/// The low half of a value below [`super::REACH`].
fn low(value: u64) -> [u8; 4] {
    let [a, b, c, d, ..] = value.to_le_bytes();
    [a, b, c, d]
}

/// What would pass the end is dropped.
fn put(page: &mut [u8], offset: usize, bytes: &[u8]) {
    for (to, from) in page.iter_mut().skip(offset).zip(bytes) {
        *to = *from;
    }
}
