//! `Chips`: the interrupt controller of a VM, emulated in the host's kernel. Timers belong to the cores.

use hv_core::{arch::aarch64::IrqPlan, hypervisor::Result};
use kvm_ioctls::VmFd;

use super::vgic::Vgic;

/// A `GICv3`, with the part of each core.
pub(crate) struct Chips {
    pub(super) gic: Vgic,
}

impl Chips {
    /// Puts it into `vm`. Before its first core.
    pub(crate) fn new(vm: &VmFd, plan: &IrqPlan, vcpus: u32) -> Result<Self> {
        Ok(Self { gic: Vgic::new(vm, plan, vcpus)? })
    }

    /// All cores exist.
    pub(crate) fn seal(&self) -> Result<()> {
        self.gic.seal()
    }

    /// Back to power-on. While no core runs.
    pub(crate) fn reset(&self, _: &VmFd) -> Result<()> {
        self.gic.reset()
    }
}
