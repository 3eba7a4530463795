//! A backend without hardware: x86_64 cores that follow a script of accesses instead of running code.
//!
//! The accesses take the way of a real guest's: to RAM that is mapped, to a watched doorbell, or out as an exit.

mod hand;
mod vcpu;
mod vm;

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

pub use hand::Hand;
pub use vcpu::{ScriptedKick, ScriptedVcpu};
pub use vm::ScriptedVm;

use super::{RecordingChip, SoftDoorbells};
use crate::{
    arch::{
        X86_64,
        x86_64::{CpuState, Facts},
    },
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

/// A host that runs scripted cores. All clones are the same host.
#[derive(Debug, Clone)]
pub struct Scripted {
    scripts: Vec<Script>,
    /// What it says of itself.
    pub facts: Facts,
    /// Where all interrupts go.
    pub chip: Arc<RecordingChip>,
    /// Who watches doorbells.
    pub doorbells: SoftDoorbells,
    hands: Arc<Hands>,
    refusals: Arc<Mutex<BTreeSet<(&'static str, u32)>>>,
    starts: Arc<Mutex<BTreeMap<u32, Vec<CpuState>>>>,
}

impl Default for Scripted {
    fn default() -> Self {
        Self {
            scripts: Vec::new(),
            facts: Facts { max_vcpus: 64, physical_address_bits: 46 },
            chip: Arc::default(),
            doorbells: SoftDoorbells::default(),
            hands: Arc::default(),
            refusals: Arc::default(),
            starts: Arc::default(),
        }
    }
}

impl Scripted {
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
    pub fn starts(&self, index: u32) -> Vec<CpuState> {
        lock(&self.starts).get(&index).cloned().unwrap_or_default()
    }

    fn check(&self, operation: &'static str, index: u32) -> Result<()> {
        if lock(&self.refusals).contains(&(operation, index)) {
            return Err(Error::new(operation, io::Error::other("the test refuses")));
        }
        Ok(())
    }

    fn note_start(&self, index: u32, state: &CpuState) {
        lock(&self.starts).entry(index).or_default().push(state.clone());
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Hypervisor for Scripted {
    type Vm = ScriptedVm;

    /// A host all of whose cores halt.
    fn open() -> Result<Self> {
        Ok(Self::default())
    }

    fn facts(&self) -> Result<Facts> {
        Ok(self.facts.clone())
    }

    fn create_vm(&self, plan: &VmPlan<X86_64>) -> Result<ScriptedVm> {
        Ok(ScriptedVm::new(self.clone(), plan.vcpus))
    }
}

#[cfg(test)]
mod tests;
