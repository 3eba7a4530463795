//! A backend without hardware: x86_64 cores that follow a script of accesses instead of running code.
//!
//! The accesses take the way of a real guest's: to RAM that is mapped, to a watched doorbell, or out as an exit.

mod vcpu;
mod vm;

use std::sync::Arc;

pub use vcpu::{ScriptedKick, ScriptedVcpu};
pub use vm::ScriptedVm;

use super::{RecordingChip, SoftDoorbells};
use crate::{
    arch::{X86_64, x86_64::Facts},
    hypervisor::{Hypervisor, Result, VmPlan},
    irq::Msi,
};

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
}

/// What one core does, from each power-on or reset to the next. Where the script ends it halts for good.
pub type Script = Vec<Vec<Step>>;

/// A host that runs scripted cores.
#[derive(Debug, Clone, Default)]
pub struct Scripted {
    scripts: Vec<Script>,
    /// Where all interrupts go.
    pub chip: Arc<RecordingChip>,
    /// Who watches doorbells.
    pub doorbells: SoftDoorbells,
}

impl Scripted {
    /// A host whose cores follow `scripts`, in the order of their numbers; further cores halt.
    pub fn new(scripts: Vec<Script>) -> Self {
        Self { scripts, ..Self::default() }
    }
}

impl Hypervisor for Scripted {
    type Vm = ScriptedVm;

    /// A host all of whose cores halt.
    fn open() -> Result<Self> {
        Ok(Self::default())
    }

    fn facts(&self) -> Result<Facts> {
        Ok(Facts { max_vcpus: 64, physical_address_bits: 46 })
    }

    fn create_vm(&self, plan: &VmPlan<X86_64>) -> Result<ScriptedVm> {
        Ok(ScriptedVm::new(self.clone(), plan.vcpus))
    }
}

#[cfg(test)]
mod tests;
