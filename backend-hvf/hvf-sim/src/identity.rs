//! What the processor says of itself: ID registers as a plain Apple core has them (model), of what Unicorn's model can do.

use crate::engine::Processor;

/// Widest guest-physical address (model: what an M2 or newer has).
pub(crate) const MAX_ADDRESS_BITS: u32 = 40;
/// Guest-physical address of a VM that asks for none (peer: libkrun, 36 bits are the default).
pub(crate) const DEFAULT_ADDRESS_BITS: u32 = 36;
/// `MIDR_EL1`: implementer Apple, M1's efficiency core (model).
pub(crate) const MAIN_ID: u64 = 0x610f_0220;
/// `MPIDR_EL1` before it is set: bit 31 is one, the affinity zero (model).
pub(crate) const NO_AFFINITY: u64 = 1 << 31;

/// First of the 32 ID registers, by `hv_sys_reg_t`: `ID_AA64PFR0_EL1`.
const FIRST: u16 = 0xc020;
const COUNT: u16 = 32;

const PFR0: u16 = 0xc020;
const PFR1: u16 = 0xc021;
const DFR0: u16 = 0xc028;
const DFR1: u16 = 0xc029;
const ISAR0: u16 = 0xc030;
const ISAR1: u16 = 0xc031;
const MMFR0: u16 = 0xc038;
const MMFR1: u16 = 0xc039;
const MMFR2: u16 = 0xc03a;
const CTR: u16 = 0xd801;
const CLIDR: u16 = 0xc801;
const DCZID: u16 = 0xd807;

/// Registers of `hv_feature_reg_t`, in its order (header: `hv_vcpu_config.h`).
const FEATURES: [u16; 12] = [DFR0, DFR1, ISAR0, ISAR1, MMFR0, MMFR1, MMFR2, PFR0, PFR1, CTR, CLIDR, DCZID];

/// Fields of four bits at `positions`.
fn fields(positions: &[u32]) -> u64 {
    positions.iter().map(|position| 0xf << position).sum()
}

/// The place of an ID register among the 32, by `hv_sys_reg_t`.
pub(crate) fn index(register: u16) -> Option<u32> {
    let index = register.checked_sub(FIRST).filter(|index| *index < COUNT)?;
    Some(index.into())
}

/// All ID registers at a vCPU's creation, by place.
pub(crate) fn registers(processor: &Processor) -> impl Iterator<Item = (u32, u64)> {
    (0..COUNT).map(|place| (place.into(), value(processor, FIRST + place)))
}

/// A register of `hv_feature_reg_t`.
pub(crate) fn feature(processor: &Processor, feature: u32) -> Option<u64> {
    let register = FEATURES.get(usize::try_from(feature).ok()?)?;
    Some(value(processor, *register))
}

fn value(processor: &Processor, register: u16) -> u64 {
    let model = processor.constant(register);
    match register {
        // AArch64 alone at EL0 and EL1, no EL2, EL3, RAS, SVE; half precision; not open to speculation (CSV2, CSV3).
        // GIC is 0 even with a GIC of the framework (peer: edk2 chose GICv2 for it, tianocore/edk2#13053).
        PFR0 => 0x1100_0000_0011_0011,
        PFR1 => model & fields(&[0]),
        // Debug as ARMv8 has it: six breakpoints, four watchpoints; no performance monitor (peer).
        DFR0 => 0x1030_5006,
        // Without SM3, SM4 and random numbers, which no Apple core has.
        ISAR0 => model & !fields(&[36, 40, 60]),
        // Pointer authentication is QARMA5 in software here, which triples the time of a boot.
        ISAR1 => model & !fields(&[4, 8, 24, 28]),
        // 40 bits of address, 16 bits of ASID; granules of 4 KiB and 16 KiB, not 64 KiB.
        MMFR0 => 0x0f10_0022,
        // No EL2 (VH, VMIDBits), no limited ordering regions.
        MMFR1 => model & !fields(&[4, 8, 16]),
        // And E0PD (model), without which Linux, its place being random, has page tables of its own for programs (KPTI) and so drops the
        // emulated TLB at each system call. What it asks for, that programs cannot tell by time what is mapped, is given by permissions.
        MMFR2 => model & fields(&[0, 4]) | 1 << 60,
        // IC is needed: the engine relies on it.
        CTR => model & !(1 << 29),
        CLIDR => model,
        // Blocks of 64 bytes, as on Apple's cores and in Unicorn.
        DCZID => 4,
        _ => 0,
    }
}
