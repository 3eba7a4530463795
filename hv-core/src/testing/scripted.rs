//! A backend without hardware: cores of either architecture that follow a script of accesses instead of running code.
//!
//! The accesses take the way of a real guest's: to RAM that is mapped, to a watched doorbell, or out as an exit.

mod hand;
mod vcpu;
mod vm;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

pub use hand::Hand;
pub use vcpu::{ScriptedKick, ScriptedVcpu};
pub use vm::ScriptedVm;

use super::{RecordingChip, SoftDoorbells};
use crate::{
    arch::{Aarch64, Arch, X86_64, aarch64, x86_64},
    hypervisor::{Error, Hypervisor, Result, VmPlan},
    irq::Msi,
};
use hand::Hands;

/// One thing that a core does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Stores these bytes (1, 2, 4 or 8) at a guest-physical address.
    Write(u64, Vec<u8>),
    /// Loads from a guest-physical address and crashes unless it finds these bytes (1, 2, 4 or 8).
    Read(u64, Vec<u8>),
    /// Writes these bytes (1, 2 or 4) to a port.
    PortWrite(u16, Vec<u8>),
    /// Reads from a port and crashes unless it finds these bytes (1, 2 or 4).
    PortRead(u16, Vec<u8>),
    /// Halts until this message arrives.
    WaitMsi(Msi),
    /// Halts until this line is high.
    WaitLine(u32),
    /// Switches the machine off.
    PowerOff,
    /// Resets the machine.
    Reset,
    /// Crashes, with this line.
    Crash(String),
    /// The host cannot run the core any further, and says this.
    Fail(String),
    /// Begins again with the first step since power-on.
    Again,
}

/// What one core does, from each power-on or reset to the next. Where the script ends it halts, and does what its
/// [`Hand`] says. A reset of a core that has not run yet changes nothing.
pub type Script = Vec<Vec<Step>>;

/// An architecture whose cores can follow a script.
pub trait ScriptedArch: Arch<Facts: fmt::Debug, CpuState: Default + fmt::Debug> {
    /// What a host says of itself unless a test has it say something else.
    fn facts() -> Self::Facts;
    /// A guest's code has changed the registers.
    fn disturb(state: &mut Self::CpuState);
}

impl ScriptedArch for X86_64 {
    fn facts() -> x86_64::Facts {
        x86_64::Facts { max_vcpus: 64, physical_address_bits: 46 }
    }

    fn disturb(state: &mut x86_64::CpuState) {
        state.rip = !state.rip;
    }
}

impl ScriptedArch for Aarch64 {
    fn facts() -> aarch64::Facts {
        aarch64::Facts { max_vcpus: 64, physical_address_bits: 40 }
    }

    fn disturb(state: &mut aarch64::CpuState) {
        state.pc = !state.pc;
    }
}

/// A host that runs scripted cores. All clones are the same host. Cores that an architecture keeps switched off until
/// another starts them run like the first.
#[derive(Debug, Clone)]
pub struct Scripted<A: ScriptedArch = X86_64> {
    scripts: Vec<Script>,
    /// What it says of itself.
    pub facts: A::Facts,
    /// Where all interrupts go.
    pub chip: Arc<RecordingChip>,
    /// Who watches doorbells.
    pub doorbells: SoftDoorbells,
    hands: Arc<Hands>,
    refusals: Arc<Mutex<BTreeSet<(&'static str, u32)>>>,
    starts: Arc<Mutex<BTreeMap<u32, Vec<A::CpuState>>>>,
    made: Arc<Mutex<Vec<u32>>>,
}

impl<A: ScriptedArch> Default for Scripted<A> {
    fn default() -> Self {
        Self {
            scripts: Vec::new(),
            facts: A::facts(),
            chip: Arc::default(),
            doorbells: SoftDoorbells::default(),
            hands: Arc::default(),
            refusals: Arc::default(),
            starts: Arc::default(),
            made: Arc::default(),
        }
    }
}

impl<A: ScriptedArch> Scripted<A> {
    /// A host whose cores follow `scripts`, in the order of their numbers; further cores have nothing to do.
    pub fn new(scripts: Vec<Script>) -> Self {
        Self { scripts, ..Self::default() }
    }

    /// What makes core `index` act once its script is at its end.
    pub fn hand(&self, index: u32) -> Hand {
        Hand::new(Arc::clone(&self.hands), Arc::clone(&self.chip), index)
    }

    /// From now on `operation` (`create_vcpu`, `reset`) fails for core `index`.
    pub fn refuse(&self, operation: &'static str, index: u32) {
        lock(&self.refusals).insert((operation, index));
    }

    /// The registers with which core `index` began to run, after each power-on or reset.
    pub fn starts(&self, index: u32) -> Vec<A::CpuState> {
        lock(&self.starts).get(&index).cloned().unwrap_or_default()
    }

    /// The numbers of its cores in the order in which they were made.
    pub fn made(&self) -> Vec<u32> {
        lock(&self.made).clone()
    }

    fn check(&self, operation: &'static str, index: u32) -> Result<()> {
        if lock(&self.refusals).contains(&(operation, index)) {
            return Err(Error::new(operation, io::Error::other("the test refuses")));
        }
        Ok(())
    }

    fn note_start(&self, index: u32, state: &A::CpuState) {
        lock(&self.starts).entry(index).or_default().push(state.clone());
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<A: ScriptedArch> Hypervisor for Scripted<A> {
    type Vm = ScriptedVm<A>;

    /// A host all of whose cores halt.
    fn open() -> Result<Self> {
        Ok(Self::default())
    }

    fn facts(&self) -> Result<A::Facts> {
        Ok(self.facts.clone())
    }

    fn create_vm(&self, plan: &VmPlan<A>) -> Result<ScriptedVm<A>> {
        Ok(ScriptedVm::new(self.clone(), plan.vcpus))
    }
}

#[cfg(test)]
mod tests;
