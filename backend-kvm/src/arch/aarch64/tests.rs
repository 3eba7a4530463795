//! Tests on the host's own KVM.

use hv_core::{
    arch::aarch64::{CpuState, IrqPlan, SystemRegister},
    hypervisor::{Hypervisor, Vcpu, Vm, VmPlan},
};

use super::*;
use crate::{Kvm, KvmVm, Probe, probe};

/// Of the machine `hv-1`.
pub(super) fn plan() -> IrqPlan {
    IrqPlan {
        distributor: 0x0800_0000,
        redistributors: 0x0a00_0000,
        msi_frame: 0x0801_0000,
        msis: 128..640,
        intids: 640,
    }
}

fn machine() -> KvmVm {
    let kvm = Kvm::open().unwrap();
    kvm.create_vm(&VmPlan { vcpus: 1, address_bits: 36, irq: plan() }).unwrap()
}

#[test]
#[ignore = "needs KVM of an arm64 host"]
fn registers_read_as_written_and_reset_to_power_on() {
    let vm = machine();
    let mut vcpu = vm.create_vcpu(0).unwrap();
    vm.seal().unwrap();
    let new = vcpu.state().unwrap();
    let mut used =
        CpuState { pc: 0x8000_0004, pstate: 0x6000_03c4, fpcr: 1 << 24, fpsr: 0x1f, ..new.clone() };
    for (number, (x, v)) in (1_u64..).zip(used.x.iter_mut().zip(&mut used.v)) {
        (*x, *v) = (number * 0x0101_0101_0101_0101, u128::from(number) << 100 | 7);
    }
    for register in [
        SystemRegister::SP_EL0,
        SystemRegister::SP_EL1,
        SystemRegister::ELR_EL1,
        SystemRegister::SPSR_EL1,
        SystemRegister::TTBR0_EL1,
        SystemRegister::VBAR_EL1,
        SystemRegister::TPIDR_EL0,
        SystemRegister::CNTV_CVAL_EL0,
    ] {
        used.system.insert(register, 0x8_0000 + u64::from(register.0));
    }
    vcpu.set_state(&used).unwrap();
    assert_eq!(vcpu.state().unwrap(), used);
    vcpu.reset().unwrap();
    assert_eq!(vcpu.state().unwrap(), new);
}

#[test]
#[ignore = "needs KVM of an arm64 host"]
fn an_arm64_kvm_is_a_full_one() {
    assert_eq!(probe().unwrap(), Probe::Full);
}

#[test]
#[ignore = "needs KVM of an arm64 host"]
fn psci_is_of_the_machines_version() {
    let kvm = kvm_ioctls::Kvm::new().unwrap();
    let vm = create_vm(&kvm, &VmPlan { vcpus: 1, address_bits: 36, irq: plan() }).unwrap();
    let vcpu = vm.create_vcpu(0).unwrap();
    Template::new(&kvm, &vm, 1).unwrap().core(&vcpu, 0).unwrap();
    let mut version = [0; 8];
    vcpu.get_one_reg(0x6030_0000_0014_0000, &mut version).unwrap();
    assert_eq!(u64::from_le_bytes(version), 0x1_0001);
}
