//! aarch64 in the suite: its programs, how a core enters them, and the cases that only it has.

macro_rules! image {
    ($name:literal) => {
        include_bytes!(concat!(env!("OUT_DIR"), "/aarch64/", $name, ".bin"))
    };
}

mod access;
mod cores;
mod forms;
mod interrupts;
mod psci;
mod registers;
mod reset;
mod snippet;
mod timer;

use std::collections::BTreeMap;

use hv_core::{
    arch::{
        Aarch64,
        aarch64::{CpuState, IrqPlan, PSTATE_AT_RESET, SystemRegister},
    },
    hypervisor::{Hypervisor, Region, Vm, VmPlan},
};
use vm_memory::{Bytes, MemoryRegionAddress};

use crate::{Case, Program, Programs};

/// The translation table of level 1, and the one of level 2 for the first GiB.
const TABLES: u64 = 0x1000;
const IMAGE: u64 = 0x10_0000;
const STACK: u64 = 0x20_0000;

impl Programs for Aarch64 {
    fn plan(vcpus: u32) -> VmPlan<Self> {
        let irq = IrqPlan {
            distributor: 0x0800_0000,
            redistributors: 0x0a00_0000,
            msi_frame: 0x0801_0000,
            msis: 128..640,
            intids: 640,
        };
        VmPlan { vcpus, address_bits: 36, irq }
    }

    fn image(program: Program) -> &'static [u8] {
        match program {
            Program::Mmio => image!("mmio"),
            Program::Load => image!("load"),
            Program::Store => image!("store"),
            Program::Spin => image!("spin"),
            Program::Halt => image!("halt"),
        }
    }

    fn load(image: &[u8], argument: u64, ram: &Region) -> CpuState {
        ram.write_slice(image, MemoryRegionAddress(IMAGE)).unwrap();
        map_to_itself(ram);
        let mut state = translated(IMAGE);
        state.x[0] = argument;
        state
    }

    fn loaded(state: &CpuState) -> u64 {
        state.x[1]
    }

    fn distinct(entry: CpuState) -> CpuState {
        let mut n = 0_u64;
        let mut next = || {
            n += 0x0123_4567_89ab_cdef;
            n
        };
        let x = [0; 31].map(|_: u64| next());
        let v = [0; 32].map(|_: u128| u128::from(next()) << 64 | u128::from(next()));
        let mut state = CpuState {
            x,
            pc: 0x7654_3210,
            pstate: PSTATE_AT_RESET | 0b0110 << 28,
            v,
            fpcr: 0x03c0_0000,
            fpsr: 0x0800_009f,
            ..entry
        };
        state.system.extend(DISTINCT);
        state
    }

    fn comparable(state: &CpuState) -> String {
        // Whether the timer has fired is no state.
        let keep = |(register, value): (&SystemRegister, &u64)| match *register {
            SystemRegister::CNTV_CTL_EL0 => (*register, value & 3),
            register => (register, *value),
        };
        let compared = |register: &SystemRegister| DISTINCT.iter().any(|(other, _)| other == register);
        let system: BTreeMap<_, _> =
            state.system.iter().filter(|(register, _)| compared(register)).map(keep).collect();
        format!("{:#x?}", CpuState { system, ..state.clone() })
    }

    fn cases<H: Hypervisor + 'static>() -> Vec<Case>
    where
        H::Vm: Vm<Arch = Self>,
    {
        [
            access::cases::<H>(),
            psci::cases::<H>(),
            interrupts::cases::<H>(),
            timer::cases::<H>(),
            registers::cases::<H>(),
            reset::cases::<H>(),
        ]
        .concat()
    }
}

/// Values that each register takes whole on every processor. Absent: keys of pointer authentication, which a host may
/// lack, and registers that a processor may have as zeros (AFSR0, AFSR1, AMAIR).
const DISTINCT: [(SystemRegister, u64); 23] = [
    (SystemRegister::MDSCR_EL1, 1 << 12),
    (SystemRegister::SCTLR_EL1, SCTLR),
    (SystemRegister::CPACR_EL1, 1 << 20),
    (SystemRegister::TTBR0_EL1, 0x12 << 48 | TABLES),
    (SystemRegister::TTBR1_EL1, 0x34 << 48 | 0x5000),
    (SystemRegister::TCR_EL1, TCR),
    (SystemRegister::SPSR_EL1, 0x9000_03c4),
    (SystemRegister::ELR_EL1, 0xffff_8000_1234_5678),
    (SystemRegister::SP_EL0, 0x0000_ffff_1234_5670),
    (SystemRegister::SP_EL1, 0xffff_8000_89ab_cde0),
    (SystemRegister::ESR_EL1, 0x5600_1234),
    (SystemRegister::FAR_EL1, 0xffff_0000_dead_beef),
    (SystemRegister::PAR_EL1, 0xff00_0000_1234_5a80),
    (SystemRegister::MAIR_EL1, MAIR),
    (SystemRegister::VBAR_EL1, 0xffff_8000_0808_0800),
    (SystemRegister::CONTEXTIDR_EL1, 0x1357_9bdf),
    (SystemRegister::TPIDR_EL1, 0xfedc_ba98_7654_3210),
    (SystemRegister::CNTKCTL_EL1, 2),
    (SystemRegister::CSSELR_EL1, 2),
    (SystemRegister::TPIDR_EL0, 0x0f1e_2d3c_4b5a_6978),
    (SystemRegister::TPIDRRO_EL0, 0x1122_3344_5566_7788),
    // Off and masked, so that the deadline means nothing.
    (SystemRegister::CNTV_CTL_EL0, 2),
    (SystemRegister::CNTV_CVAL_EL0, 0x7fff_1234_5678_9abc),
];

/// MMU, data and instruction caches on, with the bits that are one where a processor lacks what they control
/// (Arm ARM, D24.2.175).
const SCTLR: u64 = 0x30d0_0800 | 1 << 12 | 1 << 2 | 1;
/// 39 bits of address by TTBR0 alone, 4 KiB granule, tables in write-back shareable memory; 36 bits of output.
const TCR: u64 = 25 | 1 << 8 | 1 << 10 | 3 << 12 | 1 << 23 | 25 << 16 | 2 << 30 | 1 << 32;
/// Attribute 0 is Device-nGnRE, 1 is Normal write-back.
const MAIR: u64 = 0xff04;

/// The first 512 GiB as device memory, but the first 2 MiB as normal memory.
fn map_to_itself(ram: &Region) {
    /// A block: valid, accessed.
    const BLOCK: u64 = 1 << 10 | 1;
    const NORMAL: u64 = 3 << 8 | 1 << 2;
    const NEVER_EXECUTE: u64 = 1 << 54 | 1 << 53;
    let store = |address, value: u64| ram.write_obj(value, MemoryRegionAddress(address)).unwrap();
    for n in 0..512 {
        store(TABLES + n * 8, n << 30 | BLOCK | NEVER_EXECUTE);
        store(TABLES + 0x1000 + n * 8, n << 21 | BLOCK | NEVER_EXECUTE);
    }
    store(TABLES, (TABLES + 0x1000) | 3);
    store(TABLES + 0x1000, BLOCK | NORMAL);
}

/// At EL1 with the MMU on and exceptions masked, at `pc`.
fn translated(pc: u64) -> CpuState {
    CpuState {
        pc,
        pstate: PSTATE_AT_RESET,
        system: BTreeMap::from([
            (SystemRegister::SCTLR_EL1, SCTLR),
            (SystemRegister::TCR_EL1, TCR),
            (SystemRegister::MAIR_EL1, MAIR),
            (SystemRegister::TTBR0_EL1, TABLES),
            // Floating point at EL1.
            (SystemRegister::CPACR_EL1, 3 << 20),
            (SystemRegister::SP_EL1, STACK),
            (SystemRegister::VBAR_EL1, 0),
        ]),
        ..CpuState::default()
    }
}
