//! `Vm`: one guest's memory, cores, interrupt controller and doorbells.

use std::sync::Arc;

use super::{Reclaimer, Result, Vcpu};
use crate::{arch::Arch, io::DoorbellHost, irq::IrqChip};

/// A piece of guest RAM, mapped in this process.
pub type Region = vm_memory::GuestRegionMmap;

/// What the guest may do with a region.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Load, store and execute.
    ReadWrite,
    /// Load and execute; a store arrives as [`Exit::MmioWrite`](super::Exit::MmioWrite).
    ReadOnly,
}

/// A virtual machine.
pub trait Vm: Send + Sync + 'static {
    /// The guest's architecture.
    type Arch: Arch;
    /// Its cores.
    type Vcpu: Vcpu<Arch = Self::Arch>;

    /// Shows `region` to the guest and keeps it alive until it is unmapped, which is why this is safe.
    ///
    /// # Errors
    /// The region overlaps another one, or the host refuses it.
    fn map(&self, region: Arc<Region>, access: Access) -> Result<()>;

    /// Takes the region that starts at guest-physical `base` away from the guest.
    ///
    /// # Errors
    /// No region starts there.
    fn unmap(&self, base: u64) -> Result<Arc<Region>>;

    /// Makes core `index` on the calling thread, which alone may run it.
    ///
    /// # Errors
    /// `index` is out of the plan or taken, or the host refuses.
    fn create_vcpu(&self, index: u32) -> Result<Self::Vcpu>;

    /// Every core exists: freezes the topology.
    ///
    /// # Errors
    /// The host refuses.
    fn seal(&self) -> Result<()>;

    /// Puts interrupt controllers and timers that belong to no core back to their state at power-on, and those of cores
    /// where the host has them together. Only while no core runs.
    ///
    /// # Errors
    /// The host refuses.
    fn reset(&self) -> Result<()>;

    /// The machine's interrupt controller.
    fn irq_chip(&self) -> Arc<dyn IrqChip>;

    /// Who watches doorbells in the host's kernel, if it can.
    fn doorbell_host(&self) -> Arc<dyn DoorbellHost>;

    /// What gives the guest's unused RAM back to the host.
    fn reclaimer(&self) -> Arc<dyn Reclaimer>;
}
