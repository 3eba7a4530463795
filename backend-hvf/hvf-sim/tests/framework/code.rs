//! Code that a guest changes: seen once the guest has said so, as on a processor.

use crate::{
    calls::{Reg, Sys},
    guest::{Core, DATA, Guest, RAM},
    programs,
};

/// Where `TTBR1_EL1` begins with 39 bits of virtual address.
const HIGH: u64 = 0xffff_ff80_0000_0000;
const CODE: usize = 0x4000;
/// A valid table or page: normal memory, inner shareable, accessed.
const ENTRY: u64 = 3 | 3 << 8 | 1 << 10;
const READ_ONLY: u64 = 1 << 7;
const NO_EXECUTE: u64 = 3 << 53;

#[test]
fn code_changed_through_a_second_mapping_is_seen_after_its_invalidation() {
    let guest = Guest::new(programs::CHANGE);
    guest.ram.write(CODE, programs::ONE);
    // Three levels of tables, with three pages: the program, the code, and the code as data.
    let entry = |offset: usize, value: u64| {
        guest.ram.write(offset, &[(value & 0xffff_ffff) as u32, (value >> 32) as u32]);
    };
    let at = |offset: usize| RAM + offset as u64;
    let (level2, level3) = (DATA + 0x1000, DATA + 0x2000);
    entry(DATA, at(level2) | 3);
    entry(level2, at(level3) | 3);
    entry(level3, RAM | ENTRY | READ_ONLY);
    entry(level3 + 8, at(CODE) | ENTRY | READ_ONLY);
    entry(level3 + 16, at(CODE) | ENTRY | NO_EXECUTE);

    let core = Core::new(0, 0);
    core.set_sys(Sys::MAIR_EL1, 0xff);
    core.set_sys(Sys::TTBR1_EL1, at(DATA));
    // 36 bits of physical address; TTBR1: 4 KiB granule, write-back, inner shareable; both 39 bits, no TTBR0.
    core.set_sys(Sys::TCR_EL1, 1 << 32 | 2 << 30 | 3 << 28 | 1 << 26 | 1 << 24 | 25 << 16 | 1 << 7 | 25);
    core.set_sys(Sys::SCTLR_EL1, 0x30d0_0800 | 1 << 12 | 1 << 2 | 1);
    core.set(Reg::PC, HIGH);
    core.set(Reg::X1, HIGH + 0x1000);
    core.set(Reg::X2, HIGH + 0x2000);
    core.set(Reg::X3, programs::SAY_TWO.into());
    assert_eq!(core.hypercall(), 1);
    assert_eq!((core.get(Reg::X4), core.get(Reg::X0)), (1, 2), "before and after");
}
