//! PVH start information (xen/include/public/arch-x86/hvm/start_info.h, version 1).

use std::ops::Range;

use vm_memory::{Bytes, GuestAddress};

use super::{BootError, COMMAND_LINE, START_INFORMATION, Target, memory_map};

const MAGIC: u32 = 0x336e_c578;
const VERSION: u32 = 1;
/// Where the module list and the memory map lie, behind the structure itself.
const MODULES: u64 = START_INFORMATION + 0x40;
const MEMORY_MAP: u64 = START_INFORMATION + 0x80;
/// So many entries of 24 bytes end before the page tables.
const MOST_ENTRIES: usize = 128;

/// Writes `hvm_start_info`, with one `hvm_modlist_entry` for an initial RAM disk and the memory map.
pub(super) fn write_start_info(target: &Target<'_>, initrd: &Range<u64>) -> Result<(), BootError> {
    let map = memory_map(target.layout, target.reserved);
    let (modules, list) = if initrd.is_empty() { (0_u32, 0) } else { (1, MODULES) };
    let mut entries = 0_u32;
    let mut bytes = Vec::new();
    for entry in map.iter().take(MOST_ENTRIES) {
        bytes.extend(entry.range.start.to_le_bytes());
        bytes.extend((entry.range.end - entry.range.start).to_le_bytes());
        bytes.extend((entry.kind as u32).to_le_bytes());
        bytes.extend(0_u32.to_le_bytes());
        entries += 1;
    }
    target.ram.write_slice(&bytes, GuestAddress(MEMORY_MAP))?;

    let module = [initrd.start, initrd.end - initrd.start, 0, 0];
    target.ram.write_slice(&module.map(u64::to_le_bytes).concat(), GuestAddress(MODULES))?;

    let flags = 0;
    let mut info = [MAGIC, VERSION, flags, modules].map(u32::to_le_bytes).concat();
    info.extend([list, COMMAND_LINE, target.rsdp, MEMORY_MAP].map(u64::to_le_bytes).concat());
    info.extend([entries, 0].map(u32::to_le_bytes).concat());
    Ok(target.ram.write_slice(&info, GuestAddress(START_INFORMATION))?)
}
