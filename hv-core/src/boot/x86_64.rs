//! How an x86_64 kernel is started: protocols, boot parameters, first register state.
//!
//! | file | protocol | first instruction |
//! | --- | --- | --- |
//! | bzImage | Linux 64-bit boot protocol (Documentation/arch/x86/boot.rst) | load address + 0x200 |
//! | ELF, Linux | the same, in the unpacked kernel | `e_entry` |
//! | ELF, others with the PVH note | PVH (Xen's docs/misc/pvh.pandoc) | the note's address |
//!
//! A Linux ELF kernel has both entries. The 64-bit one is taken, because there it reads the same boot parameters
//! as a bzImage does and skips its own way from 32 to 64 bits; PVH would give it the same facts in another form.
//!
//! Low memory, all of it free again once the kernel has its own tables and copies:
//!
//! | address | holds |
//! | --- | --- |
//! | 0x500 | global descriptor table |
//! | 0x7000 | boot parameters or PVH start information |
//! | 0x9000 .. 0xf000 | page tables: the first 4 GiB, each address to itself |
//! | 0x20000 .. 0x30000 | command line |
//! | 0xe0000 .. 0x100000 | ACPI tables |
//! | 0x100000 .. | kernel; the initial RAM disk as high as the protocol lets it |

mod bzimage;
mod linux;
mod pvh;
mod registers;
mod vmlinux;

use std::ops::Range;

use vm_memory::{Bytes, GuestAddress};

use super::{BootError, Payload, PayloadFile, elf, foreign, initrd, zero};
use crate::{
    arch::x86_64::CpuState,
    memory::{GuestRam, RamLayout},
    tables::acpi,
};

/// Where the kernel's information about its start lies: boot parameters or PVH start information.
const START_INFORMATION: u64 = 0x7000;
const COMMAND_LINE: u64 = 0x2_0000;
/// The most bytes a command line may have here, its terminating zero not counted.
const MOST_COMMAND_LINE: usize = 0xffff;
/// Kernels begin here or higher.
const KERNEL_FLOOR: u64 = 0x10_0000;
/// The page tables and 32-bit fields reach so far.
const REACH: u64 = 4 << 30;
/// RAM ends here for kernels, as on every PC; from here to 1 MiB are video and firmware.
const LOW_RAM_END: u64 = 0xa_0000;

/// How a kernel is entered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// Linux's own 64-bit entry, with boot parameters.
    Linux64,
    /// The PVH entry in 32-bit protected mode, with start information.
    Pvh,
}

/// The machine that a payload is loaded into.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// Its RAM.
    pub ram: &'a GuestRam,
    /// Where the RAM lies.
    pub layout: &'a RamLayout,
    /// Addresses that the memory map must call reserved (the ECAM window), besides the ACPI tables.
    pub reserved: &'a [Range<u64>],
    /// Address of the RSDP.
    pub rsdp: u64,
}

/// A kernel, checked and not yet loaded.
#[derive(Debug)]
struct Kernel {
    /// What goes where; within the file, without overlap, from [`KERNEL_FLOOR`] up.
    segments: Vec<elf::Segment>,
    /// First address after all that it needs until it knows the memory map.
    end: u64,
    start: Start,
    /// The most bytes of command line it takes, terminating zero not counted.
    command_line_limit: usize,
    /// First address that its initial RAM disk may not have.
    initrd_limit: u64,
}

#[derive(Debug)]
enum Start {
    /// With the kernel's setup header, from offset 0x1f1 of the boot parameters.
    Linux64 {
        entry: u64,
        setup_header: Vec<u8>,
    },
    Pvh {
        entry: u32,
    },
}

/// Loads `payload` and says in which state the first core starts. `protocol` chooses the entry of an ELF kernel
/// that has both.
///
/// # Errors
/// The payload or the guest's RAM does not fit; see [`BootError`].
pub fn load(
    payload: &Payload,
    target: &Target<'_>,
    protocol: Option<Protocol>,
) -> Result<CpuState, BootError> {
    let kernel = inspect(&payload.kernel, protocol)?;
    let limit = kernel.command_line_limit.min(MOST_COMMAND_LINE);
    let length = payload.command_line.len();
    if length > limit {
        return Err(BootError::CommandLine { length, limit });
    }
    let initrd = place_initrd(payload, &kernel, target.layout)?;

    for segment in &kernel.segments {
        payload.kernel.copy_to(target.ram, segment.address, segment.offset, segment.file_size)?;
        zero(target.ram, segment.address + segment.file_size..segment.address + segment.memory_size)?;
    }
    if let Some(file) = &payload.initrd {
        file.copy_to(target.ram, initrd.start, 0, initrd.end - initrd.start)?;
    }
    target.ram.write_slice(payload.command_line.as_bytes(), GuestAddress(COMMAND_LINE))?;
    target.ram.write_obj(0_u8, GuestAddress(COMMAND_LINE + length as u64))?;
    let state = match &kernel.start {
        Start::Linux64 { entry, setup_header } => {
            linux::write_boot_params(target, setup_header, &initrd)?;
            registers::write_page_tables(target.ram)?;
            registers::long_mode(*entry)
        }
        Start::Pvh { entry } => {
            pvh::write_start_info(target, &initrd)?;
            registers::protected_mode(*entry)
        }
    };
    registers::write_gdt(target.ram, &state)?;
    Ok(state)
}

/// Finds out what `file` is and what it needs.
fn inspect(file: &PayloadFile, protocol: Option<Protocol>) -> Result<Kernel, BootError> {
    let size = file.size()?;
    let head = file.read(0, 4096)?;
    if head.starts_with(elf::MAGIC) {
        vmlinux::inspect(file, protocol)
    } else if bzimage::is_one(&head) {
        bzimage::inspect(file, size, &head, protocol)
    } else {
        Err(file.error(foreign::explain(file, &head, foreign::X86_64)))
    }
}

/// Checks that the RAM holds `kernel` and the initial RAM disk, and says where the disk goes; an empty range if none.
fn place_initrd(payload: &Payload, kernel: &Kernel, layout: &RamLayout) -> Result<Range<u64>, BootError> {
    let available = layout.low_end().min(REACH);
    let memory = |needed| BootError::Memory { needed, available };
    if kernel.end > available {
        return Err(memory(kernel.end));
    }
    let Some(file) = &payload.initrd else { return Ok(0..0) };
    let size = initrd::check(file)?;
    let ceiling = kernel.initrd_limit.min(available);
    if let Some(start) = initrd::place(size, kernel.end, ceiling) {
        return Ok(start..start + size);
    }
    let needed = size.checked_next_multiple_of(4096).and_then(|size| size.checked_add(kernel.end));
    // More RAM helps only where there is no hole yet and the kernel can reach further.
    match needed.filter(|needed| *needed <= kernel.initrd_limit && layout.ranges().len() == 1) {
        Some(needed) => Err(memory(needed)),
        None => Err(file.error(format!(
            "has {} MiB and this kernel has room for {} MiB: give a smaller one",
            size.div_ceil(1 << 20),
            ceiling.saturating_sub(kernel.end) >> 20
        ))),
    }
}

/// What lies where, for the kernel's memory map.
#[derive(Debug, PartialEq, Eq)]
struct MapEntry {
    range: Range<u64>,
    kind: MapKind,
}

/// The types of INT 15h, E820h (ACPI 6.5, 15.4); PVH has the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
enum MapKind {
    Ram = 1,
    Reserved = 2,
}

/// The memory map, sorted. The RAM between [`LOW_RAM_END`] and 1 MiB is there and stays untold, as on a PC.
fn memory_map(layout: &RamLayout, reserved: &[Range<u64>]) -> Vec<MapEntry> {
    let below = |range: &Range<u64>| range.start..range.end.min(LOW_RAM_END);
    let above = |range: &Range<u64>| range.start.max(KERNEL_FLOOR)..range.end;
    let ram = layout.ranges().iter().flat_map(|range| [below(range), above(range)]);
    let ram = ram.map(|range| MapEntry { range, kind: MapKind::Ram });
    let reserved = reserved.iter().chain([&acpi::TABLES]).cloned();
    let reserved = reserved.map(|range| MapEntry { range, kind: MapKind::Reserved });
    let mut map: Vec<_> = ram.chain(reserved).filter(|entry| !entry.range.is_empty()).collect();
    map.sort_by_key(|entry| entry.range.start);
    map
}

#[cfg(test)]
mod tests;
