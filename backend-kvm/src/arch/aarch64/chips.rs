//! `Chips`: the interrupt controller of a VM, emulated in the host's kernel. Timers belong to the cores.

use std::sync::Arc;

use hv_core::{arch::aarch64::IrqPlan, hypervisor::Result};
use kvm_ioctls::VmFd;

use super::vgic::Vgic;

/// A `GICv3`, which cores share: each resets its own part.
pub(crate) struct Chips {
    pub(super) gic: Arc<Vgic>,
}

impl Chips {
    /// Puts it into `vm`. Before its first core.
    pub(crate) fn new(vm: &VmFd, plan: &IrqPlan, vcpus: u32) -> Result<Self> {
        Ok(Self { gic: Arc::new(Vgic::new(vm, plan, vcpus)?) })
    }

    /// All cores exist.
    pub(crate) fn seal(&self) -> Result<()> {
        self.gic.seal()
    }

    /// Back to power-on. While no core runs.
    pub(crate) fn reset(&self, _: &VmFd) -> Result<()> {
        self.gic.reset_distributor()
    }
}
