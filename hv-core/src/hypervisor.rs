//! The contract a backend signs: `Hypervisor` makes `Vm`s, a `Vm` makes `Vcpu`s.

mod error;
mod exit;
mod reclaim;
mod vcpu;
mod vm;

pub use error::{Error, Result};
pub use exit::{Exit, Stop};
pub use reclaim::{NoReclaimer, Reclaimer};
pub use vcpu::{Kick, Vcpu};
pub use vm::{Access, Region, Vm};

use crate::arch::Arch;

/// The architecture of a hypervisor's guests.
pub type ArchOf<H> = <<H as Hypervisor>::Vm as Vm>::Arch;

/// A host facility that runs guests: `/dev/kvm`, Hypervisor.framework.
pub trait Hypervisor: Sized {
    /// The virtual machines it makes.
    type Vm: Vm;

    /// Opens the facility.
    ///
    /// # Errors
    /// The host has none, or refuses this user.
    fn open() -> Result<Self>;

    /// What the machine must know of the host before it draws its memory map.
    ///
    /// # Errors
    /// The host does not answer.
    fn facts(&self) -> Result<<ArchOf<Self> as Arch>::Facts>;

    /// Makes an empty machine: no memory, no vCPU.
    ///
    /// # Errors
    /// The host refuses the plan.
    fn create_vm(&self, plan: &VmPlan<ArchOf<Self>>) -> Result<Self::Vm>;
}

/// What is fixed when a machine is made.
#[derive(Debug, Clone)]
pub struct VmPlan<A: Arch> {
    /// Number of vCPUs, at least 1.
    pub vcpus: u32,
    /// Width of the widest guest-physical address that the machine uses, in bits.
    pub address_bits: u8,
    /// Interrupt controller addresses and line numbers.
    pub irq: A::IrqPlan,
}
