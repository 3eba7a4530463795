//! The first core's registers at a kernel's entry, with the tables that they point to.

use vm_memory::{Bytes, GuestAddress};

use super::{BootError, START_INFORMATION};
use crate::{
    arch::x86_64::{CpuState, DescriptorTable, GeneralRegisters, Segment, Segments},
    memory::GuestRam,
};

const GDT: u64 = 0x500;
/// Six descriptors: null, unused, code, data, and the task state's two.
const GDT_SIZE: u16 = 6 * 8;
/// The selectors that Linux's boot protocol demands.
const CODE: u16 = 0x10;
const DATA: u16 = 0x18;
const TASK: u16 = 0x20;

// Attributes of descriptors (SDM vol. 3, 3.4.5): accessed, 4 GiB by 4 KiB units where the segment is flat.
const CODE_64: u16 = 0xa09b;
const CODE_32: u16 = 0xc09b;
const READ_WRITE: u16 = 0xc093;
const BUSY_TASK: u16 = 0x008b;

const PAGE_TABLES: u64 = 0x9000;
const PAGE: u64 = 0x1000;
/// Page directories: 1 GiB each.
const DIRECTORIES: u64 = 4;
const ENTRIES: u64 = 512;
/// Present, writable (SDM vol. 3, 4.5).
const TABLE: u64 = 0b11;
/// The same, and a page of 2 MiB.
const LARGE_PAGE: u64 = 0x83;
/// The stack grows down from the page tables to the boot parameters' page; no kernel uses more than a few words.
const STACK: u64 = PAGE_TABLES;

const CR0_PE: u64 = 1;
const CR0_ET: u64 = 1 << 4;
const CR0_PG: u64 = 1 << 31;
const CR4_PAE: u64 = 1 << 5;
const EFER_LME: u64 = 1 << 8;
const EFER_LMA: u64 = 1 << 10;
/// Bit 1 of the flags is always set; interrupts are off.
const RFLAGS: u64 = 1 << 1;

/// Linux's 64-bit entry (boot.rst, "64-bit Boot Protocol"): paging on, RSI has the boot parameters.
pub(super) fn long_mode(entry: u64) -> CpuState {
    CpuState {
        general: GeneralRegisters { rsi: START_INFORMATION, rsp: STACK, ..GeneralRegisters::default() },
        rip: entry,
        cr0: CR0_PE | CR0_ET | CR0_PG,
        cr3: PAGE_TABLES,
        cr4: CR4_PAE,
        efer: EFER_LME | EFER_LMA,
        ..flat(CODE_64)
    }
}

/// The PVH entry: 32 bits, paging off, EBX has the start information.
pub(super) fn protected_mode(entry: u32) -> CpuState {
    CpuState {
        general: GeneralRegisters { rbx: START_INFORMATION, ..GeneralRegisters::default() },
        rip: u64::from(entry),
        cr0: CR0_PE | CR0_ET,
        ..flat(CODE_32)
    }
}

/// Flat segments, no interrupt descriptor table, no local descriptor table.
fn flat(code: u16) -> CpuState {
    let code = Segment { selector: CODE, base: 0, limit: u32::MAX, attributes: code };
    let data = Segment { selector: DATA, base: 0, limit: u32::MAX, attributes: READ_WRITE };
    let tr = Segment { selector: TASK, base: 0, limit: 0x67, attributes: BUSY_TASK };
    let ldt = Segment::default();
    CpuState {
        rflags: RFLAGS,
        segments: Segments { cs: code, ds: data, es: data, fs: data, gs: data, ss: data, tr, ldt },
        gdt: DescriptorTable { base: GDT, limit: GDT_SIZE - 1 },
        ..CpuState::default()
    }
}

/// Writes the descriptors that `state`'s selectors name.
pub(super) fn write_gdt(ram: &GuestRam, state: &CpuState) -> Result<(), BootError> {
    let segments = &state.segments;
    let table = [0, 0, descriptor(&segments.cs), descriptor(&segments.ds), descriptor(&segments.tr), 0];
    Ok(ram.write_slice(&table.map(u64::to_le_bytes).concat(), GuestAddress(GDT))?)
}

/// The descriptor of a segment with base 0.
pub(super) fn descriptor(segment: &Segment) -> u64 {
    const GRANULARITY: u16 = 1 << 15;
    let limit = if segment.attributes & GRANULARITY == 0 { segment.limit } else { segment.limit >> 12 };
    u64::from(limit & 0xffff) | u64::from(limit >> 16 & 0xf) << 48 | u64::from(segment.attributes) << 40
}

/// Writes tables that map the first 4 GiB to themselves.
pub(super) fn write_page_tables(ram: &GuestRam) -> Result<(), BootError> {
    let write = |address, entries: Vec<u64>| {
        let bytes: Vec<_> = entries.into_iter().flat_map(u64::to_le_bytes).collect();
        ram.write_slice(&bytes, GuestAddress(address))
    };
    let pointers = PAGE_TABLES + PAGE;
    let directories = pointers + PAGE;
    let directory = |index: u64| if index < DIRECTORIES { (directories + index * PAGE) | TABLE } else { 0 };
    write(PAGE_TABLES, (0..ENTRIES).map(|index| if index == 0 { pointers | TABLE } else { 0 }).collect())?;
    write(pointers, (0..ENTRIES).map(directory).collect())?;
    write(directories, (0..DIRECTORIES * ENTRIES).map(|index| index << 21 | LARGE_PAGE).collect())?;
    Ok(())
}
