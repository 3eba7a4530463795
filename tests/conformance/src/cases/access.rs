//! Loads and stores where there is no RAM.

use hv_core::hypervisor::{ArchOf, Exit, Hypervisor, Vcpu};

use crate::{
    Case, Needs, Program, Programs,
    rig::{DEVICE, RAM, Rig, answer, report},
};

pub(super) fn cases<H: Hypervisor + 'static>() -> Vec<Case>
where
    ArchOf<H>: Programs,
{
    vec![
        Case::new("a_store_of_each_width_arrives_whole", Needs::Little, stores::<H>),
        Case::new("a_loads_answer_reaches_the_register", Needs::Little, loads::<H>),
        Case::new("a_load_beyond_ram_exits", Needs::Little, beyond_ram::<H>),
        Case::new("state_completes_a_pending_load", Needs::Little, pending_load::<H>),
    ]
}

fn pass_stores(vcpu: &mut impl Vcpu) {
    let expected: [(u64, &[u8]); 4] = [
        (1, &[0x11]),
        (2, &[0x21, 0x22]),
        (4, &[0x41, 0x42, 0x43, 0x44]),
        (8, &[0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88]),
    ];
    for (offset, data) in expected {
        assert_eq!(vcpu.run().unwrap(), Exit::MmioWrite { address: DEVICE + offset, data });
    }
}

fn stores<H: Hypervisor>()
where
    ArchOf<H>: Programs,
{
    let (_rig, mut vcpu) = Rig::<H>::with(Program::Mmio, 0);
    pass_stores(&mut vcpu);
}

fn loads<H: Hypervisor>()
where
    ArchOf<H>: Programs,
{
    let (_rig, mut vcpu) = Rig::<H>::with(Program::Mmio, 0);
    pass_stores(&mut vcpu);
    let answers: [(u64, &[u8], u64); 6] = [
        (1, &[0xf1], 0xf1),
        (2, &[0x01, 0xf2], 0xf201),
        (4, &[1, 2, 3, 0xf4], 0xf403_0201),
        (8, &[1, 2, 3, 4, 5, 6, 7, 0xf8], 0xf807_0605_0403_0201),
        (1, &[0x80], 0xffff_ffff_ffff_ff80),
        (4, &[0, 0, 0, 0x80], 0xffff_ffff_8000_0000),
    ];
    for (n, (offset, data, value)) in answers.into_iter().enumerate() {
        answer(&mut vcpu, DEVICE + offset, data);
        assert_eq!(report(&mut vcpu), value, "load {n}");
    }
}

fn beyond_ram<H: Hypervisor>()
where
    ArchOf<H>: Programs,
{
    let (_rig, mut vcpu) = Rig::<H>::with(Program::Load, RAM);
    answer(&mut vcpu, RAM, &[0xff; 8]);
    assert_eq!(report(&mut vcpu), u64::MAX);
}

fn pending_load<H: Hypervisor>()
where
    ArchOf<H>: Programs,
{
    let (_rig, mut vcpu) = Rig::<H>::with(Program::Load, DEVICE);
    answer(&mut vcpu, DEVICE, &0x1234_5678_9abc_def0_u64.to_le_bytes());
    let state = vcpu.state().unwrap();
    assert_eq!(ArchOf::<H>::loaded(&state), 0x1234_5678_9abc_def0);
    // The answer is not taken twice, and the load not done again.
    vcpu.set_state(&state).unwrap();
    assert_eq!(report(&mut vcpu), 0x1234_5678_9abc_def0);
}
