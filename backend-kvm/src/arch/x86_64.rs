//! x86_64 hosts: what `Kvm`, `KvmVm` and `KvmVcpu` need to know of them.

mod chips;
mod cpuid;
mod irq;
mod msr;
mod power_on;
mod probe;
mod registers;

use std::{arch::x86_64::__cpuid, path::Path};

pub(crate) use chips::Chips;
use hv_core::{
    arch::x86_64::Facts,
    hypervisor::{Error, Result, VmPlan},
};
pub(crate) use irq::Lines;
use kvm_bindings::KVM_MAX_CPUID_ENTRIES;
use kvm_ioctls::{Cap, Kvm, VcpuFd, VmFd};
pub(crate) use power_on::{Core, Template};
pub(crate) use probe::{ProbeGuest, STEPS as PROBE_STEPS, reported_step};
pub(crate) use registers::{set_state, state};

pub(crate) type Guest = hv_core::arch::X86_64;

/// Capabilities without which there is no machine, with their names in the KVM API.
pub(crate) const REQUIRED: &[(Cap, &str)] = &[
    (Cap::Irqchip, "KVM_CAP_IRQCHIP"),
    (Cap::UserMemory, "KVM_CAP_USER_MEMORY"),
    (Cap::SetTssAddr, "KVM_CAP_SET_TSS_ADDR"),
    (Cap::ExtCpuid, "KVM_CAP_EXT_CPUID"),
    (Cap::MpState, "KVM_CAP_MP_STATE"),
    (Cap::Pit2, "KVM_CAP_PIT2"),
    (Cap::VcpuEvents, "KVM_CAP_VCPU_EVENTS"),
    (Cap::Debugregs, "KVM_CAP_DEBUGREGS"),
    (Cap::SignalMsi, "KVM_CAP_SIGNAL_MSI"),
    (Cap::ImmediateExit, "KVM_CAP_IMMEDIATE_EXIT"),
];

/// What helps where there is no `/dev/kvm`.
pub(crate) const ABSENT: &str = "load the kvm_intel or kvm_amd module, and enable virtualization in the firmware \
                                 (inside a virtual machine: enable nested virtualization on its host)";
/// What helps where nothing is behind `/dev/kvm`.
pub(crate) const DISABLED: &str = "enable virtualization (Intel VT-x, AMD-V) in the firmware";

/// APIC ids are 8 bits wide where an IOAPIC must reach them, and 255 means all.
const MOST_VCPUS: usize = 255;

pub(crate) fn facts(kvm: &Kvm) -> Result<Facts> {
    let supported = supported_cpuid(kvm)?;
    Ok(Facts {
        max_vcpus: u32::try_from(kvm.get_max_vcpus().min(MOST_VCPUS)).unwrap_or(1),
        physical_address_bits: cpuid::physical_address_bits(&supported),
    })
}

/// An empty machine.
pub(crate) fn create_vm(kvm: &Kvm, _: &VmPlan<Guest>) -> Result<VmFd> {
    kvm.create_vm().map_err(|error| Error::new("KVM_CREATE_VM", error))
}

/// Whether the processor has VMX or SVM and KVM's module for it is there.
pub(crate) fn has_hardware_virtualization() -> bool {
    // CPUID.1:ECX.VMX (SDM vol. 3, 24.6) and CPUID 8000_0001H:ECX.SVM (APM vol. 2, 15.4).
    let vmx = __cpuid(1).ecx >> 5 & 1 == 1;
    let svm = __cpuid(0x8000_0000).eax > 0x8000_0000 && __cpuid(0x8000_0001).ecx >> 2 & 1 == 1;
    let module = |name: &str| Path::new("/sys/module").join(name).exists();
    vmx && module("kvm_intel") || svm && module("kvm_amd")
}

/// Where a core is, for messages.
pub(crate) fn location(vcpu: &VcpuFd) -> Option<String> {
    /// Where a core starts after INIT (SDM vol. 3, 11.1.4).
    const RESET_VECTOR: u64 = 0xfff0;
    let regs = vcpu.get_regs().ok()?;
    // AMD's processors lose the registers at a shutdown, and KVM puts those after INIT there (APM vol. 2, 15.14.3).
    (regs.rip != RESET_VECTOR).then(|| format!("RIP {:#x}", regs.rip))
}

fn supported_cpuid(kvm: &Kvm) -> Result<Vec<kvm_bindings::kvm_cpuid_entry2>> {
    let supported = kvm.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES);
    Ok(supported.map_err(|error| Error::new("KVM_GET_SUPPORTED_CPUID", error))?.as_slice().to_vec())
}
