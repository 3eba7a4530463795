//! Kicks: none is lost, none comes twice.

use std::{sync::mpsc, thread};

use hv_core::hypervisor::{ArchOf, Exit, Hypervisor, Kick, Vcpu};

use crate::{
    Case, Needs, Program, Programs,
    rig::{DEVICE, REPORT, Rig, answer, report},
};

pub(super) fn cases<H: Hypervisor + 'static>() -> Vec<Case>
where
    ArchOf<H>: Programs,
{
    vec![
        Case::new("a_kick_stops_a_spinning_core", Needs::Little, || stopped::<H>(Program::Spin)),
        Case::new("a_kick_stops_a_halted_core", Needs::Little, || stopped::<H>(Program::Halt)),
        Case::new("kicks_before_run_count_once", Needs::Little, before_run::<H>),
        Case::new("a_kick_does_not_lose_an_answer", Needs::Little, with_an_answer::<H>),
        Case::new("no_kick_is_lost_in_a_race", Needs::Little, race::<H>),
        Case::new("a_kick_of_a_core_that_is_gone_does_nothing", Needs::Little, gone::<H>),
    ]
}

fn stopped<H: Hypervisor>(program: Program)
where
    ArchOf<H>: Programs,
{
    let (_rig, mut vcpu) = Rig::<H>::with(program, 0);
    assert_eq!(report(&mut vcpu), 1);
    for _ in 0..20 {
        let kick = vcpu.kick();
        let kicker = thread::spawn(move || kick.kick());
        assert_eq!(vcpu.run().unwrap(), Exit::Kicked);
        kicker.join().unwrap();
    }
}

fn before_run<H: Hypervisor>()
where
    ArchOf<H>: Programs,
{
    let (_rig, mut vcpu) = Rig::<H>::with(Program::Store, DEVICE);
    for _ in 0..3 {
        vcpu.kick().kick();
    }
    assert_eq!(vcpu.run().unwrap(), Exit::Kicked);
    assert!(matches!(vcpu.run().unwrap(), Exit::MmioWrite { address: DEVICE, .. }));
}

fn with_an_answer<H: Hypervisor>()
where
    ArchOf<H>: Programs,
{
    let (_rig, mut vcpu) = Rig::<H>::with(Program::Load, DEVICE);
    answer(&mut vcpu, DEVICE, &7_u64.to_le_bytes());
    vcpu.kick().kick();
    assert_eq!(vcpu.run().unwrap(), Exit::Kicked);
    assert_eq!(report(&mut vcpu), 7);
    answer(&mut vcpu, DEVICE, &8_u64.to_le_bytes());
    vcpu.kick().kick();
    assert_eq!(ArchOf::<H>::loaded(&vcpu.state().unwrap()), 8);
    assert_eq!(vcpu.run().unwrap(), Exit::Kicked, "state() does not swallow a kick");
    assert_eq!(report(&mut vcpu), 8);
}

/// One thread kicks, waits until that was seen, kicks again, while the core makes exits of its own.
fn race<H: Hypervisor>()
where
    ArchOf<H>: Programs,
{
    const KICKS: usize = 2000;
    let (_rig, mut vcpu) = Rig::<H>::with(Program::Store, DEVICE);
    let kick = vcpu.kick();
    let (seen, sight) = mpsc::channel();
    let kicker = thread::spawn(move || {
        for _ in 0..KICKS {
            kick.kick();
            sight.recv().unwrap();
        }
    });
    let mut kicks = 0;
    while kicks < KICKS {
        match vcpu.run().unwrap() {
            Exit::Kicked => {
                kicks += 1;
                seen.send(()).unwrap();
            }
            Exit::MmioWrite { address: DEVICE | REPORT, .. } => {}
            other => panic!("{other:x?}"),
        }
    }
    kicker.join().unwrap();
    // The last one's signal may still be under way; it is not a second kick.
    for _ in 0..10 {
        assert!(matches!(vcpu.run().unwrap(), Exit::MmioWrite { .. }));
    }
}

fn gone<H: Hypervisor>()
where
    ArchOf<H>: Programs,
{
    let (rig, vcpu) = Rig::<H>::with(Program::Spin, 0);
    let kick = vcpu.kick();
    drop(vcpu);
    kick.kick();
    drop(rig);
    kick.kick();
}
