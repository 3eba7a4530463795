//! What no guest has a part in: a second VM, regions that do not fit, the interrupt controller's state.

use std::sync::MutexGuard;

use hv_core::hypervisor::{Hypervisor, Vcpu};
use vm_memory::GuestAddress;

use super::*;
use crate::Hvf;

/// A process has one VM at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn machine() -> Result<HvfVm> {
    let irq = IrqPlan {
        distributor: 0x0800_0000,
        redistributors: 0x0a00_0000,
        msi_frame: 0x0801_0000,
        msis: 128..640,
        intids: 640,
    };
    Hvf::open()?.create_vm(&VmPlan { vcpus: 2, address_bits: 36, irq })
}

fn region(base: u64, size: usize) -> Arc<Region> {
    Arc::new(Region::from_range(GuestAddress(base), size, None).unwrap())
}

#[test]
fn a_second_vm_is_refused_and_the_next_is_not() {
    let _alone = alone();
    let first = machine().unwrap();
    let error = machine().unwrap_err().to_string();
    assert!(error.starts_with("hv_vm_create: ") && error.contains("one at a time"), "{error}");
    assert!(!error.contains('\n'));
    drop(first);
    machine().unwrap();
}

#[test]
fn a_vm_goes_with_the_last_that_shares_it() {
    let _alone = alone();
    let vm = machine().unwrap();
    let vcpu = vm.create_vcpu(1).unwrap();
    let (chip, kick) = (vm.irq_chip(), vcpu.kick());
    drop(vm);
    assert!(machine().is_err(), "the vCPU has it");
    drop(vcpu);
    machine().unwrap();
    chip.set_line(20, true);
    hv_core::hypervisor::Kick::kick(&kick);
}

#[test]
fn regions_are_made_of_pages_of_16_kib() {
    let _alone = alone();
    let vm = machine().unwrap();
    for (base, size) in [(0x8000_1000, 0x4000), (0x8000_0000, 0x1000)] {
        let error = vm.map(region(base, size), Access::ReadWrite).unwrap_err();
        assert_eq!(error.source.kind(), io::ErrorKind::InvalidInput);
        assert!(error.to_string().contains("pages of 0x4000 bytes"), "{error}");
    }
    vm.map(region(0x8000_0000, 0x4000), Access::ReadWrite).unwrap();
}

#[test]
fn the_interrupt_controllers_state_is_what_it_was_set_to() {
    let _alone = alone();
    let vm = machine().unwrap();
    let mut vcpu = vm.create_vcpu(0).unwrap();
    let (power_on, own_power_on) =
        (vm.interrupt_controller_state().unwrap(), vcpu.interrupt_state().unwrap());
    vm.irq_chip().set_line(20, true);
    // ICC_PMR_EL1 is the first.
    let mut own = own_power_on.clone();
    own[0] = 0xf0;
    vcpu.set_interrupt_state(&own).unwrap();
    let state = vm.interrupt_controller_state().unwrap();
    assert_ne!(state, power_on, "a line is high");
    assert_eq!(vcpu.interrupt_state().unwrap(), own);
    drop((vcpu, vm));

    let vm = machine().unwrap();
    let mut vcpu = vm.create_vcpu(0).unwrap();
    assert_eq!(vm.interrupt_controller_state().unwrap(), power_on);
    vm.set_interrupt_controller_state(&state).unwrap();
    vcpu.set_interrupt_state(&own).unwrap();
    assert_eq!(vm.interrupt_controller_state().unwrap(), state);
    assert_eq!(vcpu.interrupt_state().unwrap(), own);
    vm.reset().unwrap();
    vcpu.reset().unwrap();
    assert_eq!(vm.interrupt_controller_state().unwrap(), power_on);
    assert_eq!(vcpu.interrupt_state().unwrap(), own_power_on);
    assert!(vcpu.set_interrupt_state(&own[1..]).is_err());
}
