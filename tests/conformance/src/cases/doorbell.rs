//! Doorbells wake an event loop, watched by the host or not.

use hv_core::{
    hypervisor::{ArchOf, Exit, Hypervisor, Vcpu, Vm},
    io::{Doorbell, DoorbellHost, EventLoop, NoDoorbellHost},
};

use crate::{
    Case, Needs, Program, Programs,
    rig::{DEVICE, Rig, report},
};

const SOURCE: u8 = 5;

pub(super) fn cases<H: Hypervisor + 'static>() -> Vec<Case>
where
    ArchOf<H>: Programs,
{
    vec![
        Case::new("a_doorbell_wakes_an_event_loop", Needs::Little, || wakes::<H>(true)),
        Case::new("a_doorbell_without_the_host_wakes_it_too", Needs::Little, || wakes::<H>(false)),
        Case::new("a_doorbell_of_one_value_is_silent_for_others", Needs::Little, of_one_value::<H>),
        Case::new("a_doorbell_given_up_exits_again", Needs::Little, given_up::<H>),
    ]
}

/// Two rings. Watched by the host there is no exit for them; else the case does what a transport does.
fn wakes<H: Hypervisor>(offload: bool)
where
    ArchOf<H>: Programs,
{
    let (rig, mut vcpu) = Rig::<H>::with(Program::Store, DEVICE);
    let mut event_loop = EventLoop::new().unwrap();
    let bell = event_loop.bell(SOURCE);
    let doorbell = Doorbell { address: DEVICE, value: None };
    let watched =
        if offload { rig.vm.doorbell_host().watch(doorbell) } else { NoDoorbellHost.watch(doorbell) };
    if let Some(watched) = &watched {
        event_loop.watch(&watched.fd, SOURCE).unwrap();
    }
    for value in 1..3 {
        if watched.is_none() {
            assert!(matches!(vcpu.run().unwrap(), Exit::MmioWrite { address: DEVICE, data: [_, 0, 0, 0] }));
            bell.ring();
        }
        assert_eq!(report(&mut vcpu), value);
        assert!(event_loop.turn(None).unwrap().contains(SOURCE));
    }
}

fn of_one_value<H: Hypervisor>()
where
    ArchOf<H>: Programs,
{
    let (rig, mut vcpu) = Rig::<H>::with(Program::Store, DEVICE);
    let watched = rig.vm.doorbell_host().watch(Doorbell { address: DEVICE, value: Some(2) });
    for value in 1..4 {
        if watched.is_none() || value != 2 {
            assert!(matches!(vcpu.run().unwrap(), Exit::MmioWrite { address: DEVICE, .. }), "{value}");
        }
        assert_eq!(report(&mut vcpu), value);
    }
}

fn given_up<H: Hypervisor>()
where
    ArchOf<H>: Programs,
{
    let (rig, mut vcpu) = Rig::<H>::with(Program::Store, DEVICE);
    for value in [None, Some(1)] {
        let doorbell = Doorbell { address: DEVICE, value };
        let host = rig.vm.doorbell_host();
        drop(host.watch(doorbell));
        // It can be watched again, by a machine that was reset.
        drop(host.watch(doorbell));
    }
    assert!(matches!(vcpu.run().unwrap(), Exit::MmioWrite { address: DEVICE, .. }));
}
