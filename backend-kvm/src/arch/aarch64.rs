//! aarch64 hosts: what `Kvm`, `KvmVm` and `KvmVcpu` need to know of them.

mod chips;
mod irq;
mod power_on;
mod probe;
mod registers;
mod vgic;

use std::{io, path::Path};

pub(crate) use chips::Chips;
use hv_core::{
    arch::aarch64::Facts,
    hypervisor::{Error, Result, VmPlan},
};
pub(crate) use irq::Lines;
use kvm_bindings::{KVM_CAP_ARM_NISV_TO_USER, kvm_enable_cap};
use kvm_ioctls::{Cap, Kvm, VcpuFd, VmFd};
pub(crate) use power_on::{Core, Template};
pub(crate) use probe::{ProbeGuest, STEPS as PROBE_STEPS, reported_step};
pub(crate) use registers::{set_state, state};

pub(crate) type Guest = hv_core::arch::Aarch64;

/// Capabilities without which there is no machine, with their names in the KVM API.
pub(crate) const REQUIRED: &[(Cap, &str)] = &[
    (Cap::Irqchip, "KVM_CAP_IRQCHIP"),
    (Cap::UserMemory, "KVM_CAP_USER_MEMORY"),
    (Cap::DeviceCtrl, "KVM_CAP_DEVICE_CTRL"),
    (Cap::OneReg, "KVM_CAP_ONE_REG"),
    (Cap::ArmPsci02, "KVM_CAP_ARM_PSCI_0_2"),
    (Cap::ArmVmIPASize, "KVM_CAP_ARM_VM_IPA_SIZE"),
    (Cap::ImmediateExit, "KVM_CAP_IMMEDIATE_EXIT"),
];

/// What helps where there is no `/dev/kvm`.
pub(crate) const ABSENT: &str = "the host's kernel must have KVM and be started at EL2 \
                                 (inside a virtual machine: enable nested virtualization on its host)";
/// What helps where nothing is behind `/dev/kvm`.
pub(crate) const DISABLED: &str = "start the host's kernel at EL2";

/// Cores that KVM's redistributors have room for, whatever it says of cores (KVM API, `VGIC_V3_MAX_CPUS`).
const MOST_VCPUS: usize = 512;
/// The narrowest guest-physical address that KVM can be asked for, in bits (KVM API, 4.2).
const FEWEST_ADDRESS_BITS: u8 = 32;

pub(crate) fn facts(kvm: &Kvm) -> Result<Facts> {
    Ok(Facts {
        max_vcpus: u32::try_from(kvm.get_max_vcpus().min(MOST_VCPUS)).unwrap_or(1),
        physical_address_bits: u8::try_from(kvm.get_host_ipa_limit()).unwrap_or(FEWEST_ADDRESS_BITS),
    })
}

/// An empty machine. A load or store that the processor does not describe is an exit and not an error of `KVM_RUN`, where
/// KVM can do that.
pub(crate) fn create_vm(kvm: &Kvm, plan: &VmPlan<Guest>) -> Result<VmFd> {
    let bits = plan.address_bits.max(FEWEST_ADDRESS_BITS);
    let vm = kvm.create_vm_with_ipa_size(bits.into()).map_err(|error| {
        let error = io::Error::from(error);
        let asked = format!("{bits}-bit guest-physical addresses: {error}");
        Error::new("KVM_CREATE_VM", io::Error::new(error.kind(), asked))
    })?;
    let undecoded = kvm_enable_cap { cap: KVM_CAP_ARM_NISV_TO_USER, ..Default::default() };
    if let Err(error) = vm.enable_cap(&undecoded) {
        tracing::debug!("KVM_CAP_ARM_NISV_TO_USER: {error}");
    }
    Ok(vm)
}

/// Whether there is KVM: on Arm it always drives the processor's own virtualization.
pub(crate) fn has_hardware_virtualization() -> bool {
    Path::new("/dev/kvm").exists()
}

/// Where a core is, for messages.
pub(crate) fn location(vcpu: &VcpuFd) -> Option<String> {
    registers::program_counter(vcpu).ok().map(|pc| format!("PC {pc:#x}"))
}

#[cfg(test)]
mod tests;
