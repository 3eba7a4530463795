//! `Snippets`: a core that runs a few instructions at a time, with registers that the case sets and reads.

use std::collections::BTreeMap;

use hv_core::{
    arch::{
        Aarch64,
        aarch64::{CpuState, SystemRegister},
    },
    hypervisor::{Hypervisor, Vcpu, Vm},
};
use vm_memory::{Bytes, MemoryRegionAddress};

use crate::rig::{REPORT, Rig, VcpuOf, report};

const VECTORS: u64 = 0x8_0000;
const TRAMPOLINE: u64 = 0x9_0000;
const FIRST: u64 = 0xa_0000;
const END: u64 = 0x10_0000;
/// Room for one snippet.
const ROOM: u64 = 0x100;

/// Words of the instructions that a snippet consists of, beside those under test.
mod word {
    pub(super) const IC_IALLU: u32 = 0xd508_751f;
    pub(super) const DSB_NSH: u32 = 0xd503_379f;
    pub(super) const ISB: u32 = 0xd503_3fdf;
    pub(super) const BR_X30: u32 = 0xd61f_03c0;
    pub(super) const STR_XZR_X28: u32 = 0xf900_039f;
    pub(super) const STR_X28_X28: u32 = 0xf900_039c;
    pub(super) const BRANCH_TO_ITSELF: u32 = 0x1400_0000;
}

pub(super) const HVC: u32 = 0xd400_0002;
pub(super) const WFI: u32 = 0xd503_207f;

/// `MRS X1, register`.
pub(super) fn mrs(register: SystemRegister) -> u32 {
    0xd520_0001 | u32::from(register.0) << 5
}

/// `MSR register, X1`.
pub(super) fn msr(register: SystemRegister) -> u32 {
    0xd500_0001 | u32::from(register.0) << 5
}

/// A core for snippets. X28 and X30 are theirs.
pub(super) struct Snippets<'a, H: Hypervisor> {
    rig: &'a Rig<H>,
    pub(super) vcpu: &'a mut VcpuOf<H>,
    next: u64,
    /// What stands where: a case may run the same thing any number of times.
    written: BTreeMap<Vec<u32>, u64>,
}

impl<'a, H: Hypervisor> Snippets<'a, H>
where
    H::Vm: Vm<Arch = Aarch64>,
{
    pub(super) fn new(rig: &'a Rig<H>, vcpu: &'a mut VcpuOf<H>) -> Self {
        super::map_to_itself(&rig.ram);
        write(rig, TRAMPOLINE, &[word::IC_IALLU, word::DSB_NSH, word::ISB, word::BR_X30]);
        for n in 0..16 {
            write(rig, VECTORS + n * 0x80, &[word::STR_X28_X28, word::BRANCH_TO_ITSELF]);
        }
        Self { rig, vcpu, next: FIRST, written: BTreeMap::new() }
    }

    /// Writes instructions to a place of their own; says where.
    pub(super) fn write(&mut self, words: &[u32]) -> u64 {
        if let Some(at) = self.written.get(words) {
            return *at;
        }
        let at = self.next;
        assert!(at < END, "too many snippets for one machine");
        self.next += ROOM;
        write(self.rig, at, words);
        self.written.insert(words.to_vec(), at);
        at
    }

    /// Makes the core enter `words`, with the registers that `set` sets.
    pub(super) fn start(&mut self, words: &[u32], set: impl FnOnce(&mut CpuState)) {
        let at = self.write(&[words, &[word::STR_XZR_X28, word::BRANCH_TO_ITSELF]].concat());
        let mut state = super::translated(TRAMPOLINE);
        state.system.insert(SystemRegister::VBAR_EL1, VECTORS);
        set(&mut state);
        (state.x[28], state.x[30]) = (REPORT, at);
        self.vcpu.set_state(&state).unwrap();
    }

    /// Runs the core to the end of its snippet, which must be the next thing that it does. An error is an exception.
    pub(super) fn end(&mut self) -> Result<CpuState, Box<CpuState>> {
        match report(self.vcpu) {
            0 => Ok(self.vcpu.state().unwrap()),
            REPORT => Err(Box::new(self.vcpu.state().unwrap())),
            other => panic!("{other:#x}"),
        }
    }

    pub(super) fn run(
        &mut self,
        words: &[u32],
        set: impl FnOnce(&mut CpuState),
    ) -> Result<CpuState, Box<CpuState>> {
        self.start(words, set);
        self.end()
    }

    /// X0 after a call by HVC (SMC Calling Convention, DEN 0028).
    pub(super) fn call(&mut self, function: u32, arguments: [u64; 3]) -> u64 {
        let state = self.run(&[HVC], |state| {
            state.x[0] = function.into();
            state.x[1..4].copy_from_slice(&arguments);
        });
        state.expect("a call is no exception").x[0]
    }
}

/// What the exception was, of a state after one: the class in its syndrome (Arm ARM, D24.2.40).
pub(super) fn class(state: &CpuState) -> u64 {
    state.system[&SystemRegister::ESR_EL1] >> 26
}

fn write<H: Hypervisor>(rig: &Rig<H>, at: u64, words: &[u32]) {
    for (address, word) in (at..).step_by(4).zip(words) {
        rig.ram.write_obj(*word, MemoryRegionAddress(address)).unwrap();
    }
}
