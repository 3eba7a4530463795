//! Registers, reset, end.

use std::{sync::Arc, thread};

use hv_core::hypervisor::{ArchOf, Exit, Hypervisor, Vcpu, Vm};

use crate::{
    Case, Needs, Program, Programs,
    rig::{DEVICE, Rig, answer, report},
};

pub(super) fn cases<H: Hypervisor + 'static>() -> Vec<Case>
where
    ArchOf<H>: Programs,
{
    vec![
        Case::new("registers_are_what_they_were_set_to", Needs::Little, registers::<H>),
        Case::new("reset_brings_back_the_registers_of_power_on", Needs::Little, reset::<H>),
        Case::new("reset_forgets_a_pending_load", Needs::Little, reset_pending::<H>),
        Case::new("a_saved_state_goes_on", Needs::Little, saved::<H>),
        Case::new("a_core_outlives_its_machine", Needs::Little, outlives::<H>),
        Case::new("nothing_is_left_of_a_machine", Needs::Little, nothing_left::<H>),
        Case::new("a_core_is_made_once", Needs::Little, once::<H>),
    ]
}

fn registers<H: Hypervisor>()
where
    ArchOf<H>: Programs,
{
    let (rig, mut vcpu) = Rig::<H>::with(Program::Spin, 0);
    let entry = ArchOf::<H>::load(ArchOf::<H>::image(Program::Spin), 0, &rig.ram);
    let state = ArchOf::<H>::distinct(entry);
    vcpu.set_state(&state).unwrap();
    assert_eq!(ArchOf::<H>::comparable(&vcpu.state().unwrap()), ArchOf::<H>::comparable(&state));
}

fn reset<H: Hypervisor>()
where
    ArchOf<H>: Programs,
{
    let (rig, mut vcpu) = Rig::<H>::single();
    let power_on = ArchOf::<H>::comparable(&vcpu.state().unwrap());
    for _ in 0..2 {
        rig.enter(&mut vcpu, ArchOf::<H>::image(Program::Spin), 0);
        assert_eq!(report(&mut vcpu), 1);
        rig.vm.reset().unwrap();
        vcpu.reset().unwrap();
        assert_eq!(ArchOf::<H>::comparable(&vcpu.state().unwrap()), power_on);
    }
}

fn reset_pending<H: Hypervisor>()
where
    ArchOf<H>: Programs,
{
    let (rig, mut vcpu) = Rig::<H>::with(Program::Load, DEVICE);
    answer(&mut vcpu, DEVICE, &[0xee; 8]);
    vcpu.reset().unwrap();
    let before = ArchOf::<H>::comparable(&vcpu.state().unwrap());
    assert_eq!(ArchOf::<H>::comparable(&vcpu.state().unwrap()), before);
    assert_ne!(ArchOf::<H>::loaded(&vcpu.state().unwrap()), u64::from_le_bytes([0xee; 8]));
    rig.enter(&mut vcpu, ArchOf::<H>::image(Program::Spin), 0);
    assert_eq!(report(&mut vcpu), 1);
}

/// A core is saved while the guest loads and stores, reset, and goes on from there.
fn saved<H: Hypervisor>()
where
    ArchOf<H>: Programs,
{
    let (rig, mut vcpu) = Rig::<H>::with(Program::Store, DEVICE);
    for value in 1_u64..6 {
        assert!(matches!(vcpu.run().unwrap(), Exit::MmioWrite { address: DEVICE, .. }));
        assert_eq!(report(&mut vcpu), value);
        let state = vcpu.state().unwrap();
        rig.vm.reset().unwrap();
        vcpu.reset().unwrap();
        vcpu.set_state(&state).unwrap();
    }
}

fn outlives<H: Hypervisor>()
where
    ArchOf<H>: Programs,
{
    let (rig, mut vcpu) = Rig::<H>::with(Program::Store, DEVICE);
    drop(rig);
    assert!(matches!(vcpu.run().unwrap(), Exit::MmioWrite { address: DEVICE, .. }));
    assert_eq!(report(&mut vcpu), 1);
}

fn nothing_left<H: Hypervisor>()
where
    ArchOf<H>: Programs,
{
    for _ in 0..4 {
        let (rig, vcpu) = Rig::<H>::with(Program::Spin, 0);
        let ram = Arc::clone(&rig.ram);
        let (chip, doorbells) = (rig.vm.irq_chip(), rig.vm.doorbell_host());
        drop(rig);
        drop(vcpu);
        assert_eq!(Arc::strong_count(&ram), 1, "only the case holds RAM, though the chip is still there");
        chip.set_line(5, true);
        drop((chip, doorbells));
    }
}

fn once<H: Hypervisor>()
where
    ArchOf<H>: Programs,
{
    let rig = Rig::<H>::new(2);
    let _first = rig.vm.create_vcpu(0).unwrap();
    assert!(rig.vm.create_vcpu(0).is_err(), "it is taken");
    assert!(rig.vm.create_vcpu(2).is_err(), "it is not planned");
    thread::scope(|scope| {
        scope.spawn(|| drop(rig.vm.create_vcpu(1).unwrap()));
    });
    rig.vm.seal().unwrap();
}
