//! `Template`, what the cores of a VM have in common; `Core`, how one of them is at power-on.

use std::fmt;

use hv_core::{
    arch::aarch64::CpuState,
    hypervisor::{Error, Result},
};
use kvm_bindings::{
    KVM_ARM_VCPU_POWER_OFF, KVM_ARM_VCPU_PSCI_0_2, KVM_ARM_VCPU_PTRAUTH_ADDRESS,
    KVM_ARM_VCPU_PTRAUTH_GENERIC, kvm_vcpu_init,
};
use kvm_ioctls::{Cap, Kvm, VcpuFd, VmFd};

use super::registers;

/// PSCI 1.1, the machine's; a newer KVM offers more by itself, and one before Linux 5.18 has 1.0.
const PSCI_VERSION: u64 = 1 << 16 | 1;

/// What the cores of a VM have in common: the host's own processor, less what a guest has to ask for (SVE, a PMU).
pub(crate) struct Template {
    init: kvm_vcpu_init,
}

/// One core at power-on.
pub(crate) struct Core {
    index: u32,
    init: kvm_vcpu_init,
    /// `KVM_ARM_VCPU_INIT` leaves some registers as they were.
    state: CpuState,
}

impl Template {
    pub(crate) fn new(kvm: &Kvm, vm: &VmFd, _: u32) -> Result<Self> {
        let mut init = kvm_vcpu_init::default();
        vm.get_preferred_target(&mut init).map_err(|error| Error::new("KVM_ARM_PREFERRED_TARGET", error))?;
        offer(&mut init, KVM_ARM_VCPU_PSCI_0_2);
        // KVM takes the two together only.
        if kvm.check_extension(Cap::ArmPtrAuthAddress) && kvm.check_extension(Cap::ArmPtrAuthGeneric) {
            offer(&mut init, KVM_ARM_VCPU_PTRAUTH_ADDRESS);
            offer(&mut init, KVM_ARM_VCPU_PTRAUTH_GENERIC);
        }
        Ok(Self { init })
    }

    /// Makes `vcpu`, just created, the core `index`. All but the first wait for PSCI's `CPU_ON`.
    pub(crate) fn core(&self, vcpu: &VcpuFd, index: u32) -> Result<Core> {
        let mut init = self.init;
        if index > 0 {
            offer(&mut init, KVM_ARM_VCPU_POWER_OFF);
        }
        initialise(vcpu, &init)?;
        if let Err(error) = registers::set_psci_version(vcpu, PSCI_VERSION) {
            tracing::debug!("PSCI 1.1: {error}");
        }
        Ok(Core { index, init, state: registers::state(vcpu)? })
    }
}

impl Core {
    /// Back to power-on: timers and whether it waits for PSCI by `KVM_ARM_VCPU_INIT`, then registers.
    pub(crate) fn reset(&self, vcpu: &VcpuFd) -> Result<()> {
        initialise(vcpu, &self.init)?;
        registers::set_state(vcpu, &self.state)
    }
}

fn initialise(vcpu: &VcpuFd, init: &kvm_vcpu_init) -> Result<()> {
    vcpu.vcpu_init(init).map_err(|error| Error::new("KVM_ARM_VCPU_INIT", error))
}

/// Sets a bit of the features (KVM API, 4.82).
fn offer(init: &mut kvm_vcpu_init, feature: u32) {
    init.features[0] |= 1 << feature;
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.index)
    }
}
