//! The virtual timer wakes its core, and not before its time.

use std::{sync::Arc, thread};

use hv_core::{
    arch::Aarch64,
    hypervisor::{Exit, Hypervisor, Kick, Vcpu, Vm},
    irq::Msi,
};

use crate::{
    Case, Needs, Programs,
    rig::{DEVICE, Rig, VcpuOf, answer, report},
};

/// What the program reports when another interrupt than the timer's woke it.
const OTHER: u64 = 1 << 63;

pub(super) fn cases<H: Hypervisor + 'static>() -> Vec<Case>
where
    H::Vm: Vm<Arch = Aarch64>,
{
    vec![
        Case::new("the_timer_is_never_early", Needs::Little, never_early::<H>),
        Case::new("a_kick_does_not_lose_the_timer", Needs::Little, kicked::<H>),
        Case::new("a_timer_of_the_far_future_wakes_nobody", Needs::Little, far::<H>),
        Case::new("reset_stops_the_timer", Needs::Little, reset::<H>),
    ]
}

/// A core that waits for a number of ticks, and the ticks of a second.
fn machine<H: Hypervisor>() -> (Rig<H>, VcpuOf<H>, u64)
where
    H::Vm: Vm<Arch = Aarch64>,
{
    let (rig, mut vcpu) = Rig::<H>::single();
    rig.enter(&mut vcpu, image!("timer"), 0);
    let second = report(&mut vcpu);
    assert!(second >= 1_000_000, "{second} Hz");
    (rig, vcpu, second)
}

/// A difference that is negative as a signed number is early.
fn assert_not_early(late: u64) {
    assert!(late < 1 << 62, "{late:#x}");
}

fn never_early<H: Hypervisor>()
where
    H::Vm: Vm<Arch = Aarch64>,
{
    let (_rig, mut vcpu, second) = machine::<H>();
    let ticks = [0, 1, second / 100_000, second / 1000, second / 100, second / 20];
    for ticks in ticks.into_iter().cycle().take(30) {
        answer(&mut vcpu, DEVICE, &ticks.to_le_bytes());
        assert_not_early(report(&mut vcpu));
    }
}

fn kicked<H: Hypervisor>()
where
    H::Vm: Vm<Arch = Aarch64>,
{
    let (_rig, mut vcpu, second) = machine::<H>();
    for _ in 0..5 {
        answer(&mut vcpu, DEVICE, &(second / 20).to_le_bytes());
        vcpu.kick().kick();
        assert_eq!(vcpu.run().unwrap(), Exit::Kicked);
        assert_not_early(report(&mut vcpu));
    }
}

fn far<H: Hypervisor>()
where
    H::Vm: Vm<Arch = Aarch64>,
{
    let (rig, mut vcpu, _) = machine::<H>();
    let chip = rig.vm.irq_chip();
    let address = Aarch64::plan(1).irq.msi_frame + 0x40;
    for ticks in [1 << 62, 1 << 63, u64::MAX >> 1] {
        answer(&mut vcpu, DEVICE, &u64::to_le_bytes(ticks));
        let (kick, chip) = (vcpu.kick(), Arc::clone(&chip));
        let kicker = thread::spawn(move || kick.kick());
        assert_eq!(vcpu.run().unwrap(), Exit::Kicked, "{ticks:#x}");
        kicker.join().unwrap();
        chip.send_msi(Msi { address, data: 128 });
        assert_eq!(report(&mut vcpu), OTHER | 128, "{ticks:#x}");
    }
}

/// A deadline set before the reset does not interrupt after it.
fn reset<H: Hypervisor>()
where
    H::Vm: Vm<Arch = Aarch64>,
{
    let (rig, mut vcpu, second) = machine::<H>();
    answer(&mut vcpu, DEVICE, &(second / 100).to_le_bytes());
    vcpu.kick().kick();
    assert_eq!(vcpu.run().unwrap(), Exit::Kicked);
    rig.vm.reset().unwrap();
    vcpu.reset().unwrap();
    rig.enter(&mut vcpu, image!("timer"), 0);
    assert_eq!(report(&mut vcpu), second);
    answer(&mut vcpu, DEVICE, &(second / 10).to_le_bytes());
    assert_not_early(report(&mut vcpu));
}
