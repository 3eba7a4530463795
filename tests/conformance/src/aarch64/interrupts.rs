//! Lines, messages, SGIs, and what they wake. Each case runs with interrupts taken and with interrupts masked.

use std::{
    sync::{Arc, mpsc},
    thread,
};

use hv_core::{
    arch::Aarch64,
    hypervisor::{Exit, Hypervisor, Kick, Vcpu, Vm},
    irq::{IrqChip, Msi},
};

use super::cores::with_cores;
use crate::{
    Case, Needs, Programs,
    rig::{Rig, VcpuOf, report, reported},
};

/// The SPI that the guest program enables, and the INTIDs that it reports.
const SPI: u32 = 20;
const LINE: u64 = 52;
pub(super) const FIRST: u64 = 128;
const SECOND: u64 = 129;
/// Bits of the program's argument.
const EDGE: u64 = 1;
pub(super) const MASKED: u64 = 2;

pub(super) fn cases<H: Hypervisor + 'static>() -> Vec<Case>
where
    H::Vm: Vm<Arch = Aarch64>,
{
    vec![
        Case::new("a_message_wakes_a_waiting_core", Needs::Little, || both(message::<H>)),
        Case::new("a_line_wakes_a_waiting_core", Needs::Little, || both(line::<H>)),
        Case::new("an_edge_interrupts_once", Needs::Little, || both(edge::<H>)),
        Case::new("a_level_interrupts_until_it_is_low", Needs::Little, || both(level::<H>)),
        Case::new("a_kick_of_a_waiting_core_loses_no_interrupt", Needs::Little, || both(kicked::<H>)),
        Case::new("no_message_is_lost_in_a_race", Needs::Little, || both(race::<H>)),
        Case::new("messages_and_lines_that_nobody_takes_are_lost", Needs::Little, lost::<H>),
        Case::new("cores_send_each_other_sgis", Needs::Little, sgis::<H>),
    ]
}

/// With interrupts taken, and masked.
fn both(case: fn(u64)) {
    case(0);
    case(MASKED);
}

pub(super) fn machine<H: Hypervisor>(argument: u64) -> (Rig<H>, VcpuOf<H>, Arc<dyn IrqChip>)
where
    H::Vm: Vm<Arch = Aarch64>,
{
    let (rig, mut vcpu) = Rig::<H>::single();
    let chip = rig.vm.irq_chip();
    rig.enter(&mut vcpu, image!("interrupts"), argument);
    assert_eq!(report(&mut vcpu), 1);
    (rig, vcpu, chip)
}

/// To the `GICv2m` frame.
pub(super) fn message_of(intid: u64) -> Msi {
    let address = Aarch64::plan(1).irq.msi_frame + 0x40;
    Msi { address, data: u32::try_from(intid).unwrap() }
}

fn message<H: Hypervisor>(masked: u64)
where
    H::Vm: Vm<Arch = Aarch64>,
{
    let (_rig, mut vcpu, chip) = machine::<H>(masked);
    for intid in [FIRST, SECOND, FIRST] {
        let chip = Arc::clone(&chip);
        let sender = thread::spawn(move || chip.send_msi(message_of(intid)));
        assert_eq!(report(&mut vcpu), intid);
        sender.join().unwrap();
    }
}

fn line<H: Hypervisor>(masked: u64)
where
    H::Vm: Vm<Arch = Aarch64>,
{
    let (_rig, mut vcpu, chip) = machine::<H>(masked | EDGE);
    for _ in 0..3 {
        let chip = Arc::clone(&chip);
        let driver = thread::spawn(move || {
            chip.set_line(SPI, true);
            chip.set_line(SPI, false);
        });
        assert_eq!(report(&mut vcpu), LINE);
        driver.join().unwrap();
    }
}

fn edge<H: Hypervisor>(masked: u64)
where
    H::Vm: Vm<Arch = Aarch64>,
{
    let (_rig, mut vcpu, chip) = machine::<H>(masked | EDGE);
    for _ in 0..2 {
        chip.set_line(SPI, true);
        assert_eq!(report(&mut vcpu), LINE);
        // Still high: no second interrupt comes before this message's.
        chip.send_msi(message_of(SECOND));
        assert_eq!(report(&mut vcpu), SECOND);
        chip.set_line(SPI, false);
        chip.send_msi(message_of(SECOND));
        assert_eq!(report(&mut vcpu), SECOND);
    }
}

fn level<H: Hypervisor>(masked: u64)
where
    H::Vm: Vm<Arch = Aarch64>,
{
    let (_rig, mut vcpu, chip) = machine::<H>(masked);
    for _ in 0..2 {
        chip.set_line(SPI, true);
        // The program ends one without its device having been served, so that it comes again.
        assert_eq!([report(&mut vcpu), report(&mut vcpu), report(&mut vcpu)], [LINE; 3]);
        // The guest has not yet ended the third one.
        chip.set_line(SPI, false);
        chip.send_msi(message_of(SECOND));
        assert_eq!(report(&mut vcpu), SECOND);
    }
}

fn kicked<H: Hypervisor>(masked: u64)
where
    H::Vm: Vm<Arch = Aarch64>,
{
    let (_rig, mut vcpu, chip) = machine::<H>(masked);
    for n in 0..20 {
        let kick = vcpu.kick();
        let (sender, intid) = (Arc::clone(&chip), FIRST + n % 2);
        let kicker = thread::spawn(move || {
            kick.kick();
            sender.send_msi(message_of(intid));
        });
        // The interrupt may be seen first.
        let mut seen = 0;
        for _ in 0..2 {
            match vcpu.run().unwrap() {
                Exit::Kicked => {}
                exit => seen = reported(&exit),
            }
        }
        kicker.join().unwrap();
        assert_eq!(seen, intid);
    }
}

/// One thread sends a message as soon as the last one was seen, while the core is about to wait.
fn race<H: Hypervisor>(masked: u64)
where
    H::Vm: Vm<Arch = Aarch64>,
{
    const MESSAGES: usize = 300;
    let (_rig, mut vcpu, chip) = machine::<H>(masked);
    let (seen, sight) = mpsc::channel();
    let sender = thread::spawn(move || {
        for _ in 0..MESSAGES {
            chip.send_msi(message_of(FIRST));
            sight.recv().unwrap();
        }
    });
    for _ in 0..MESSAGES {
        assert_eq!(report(&mut vcpu), FIRST);
        seen.send(()).unwrap();
    }
    sender.join().unwrap();
}

fn lost<H: Hypervisor>()
where
    H::Vm: Vm<Arch = Aarch64>,
{
    let (rig, mut vcpu) = Rig::<H>::single();
    let chip = rig.vm.irq_chip();
    let frame = Aarch64::plan(1).irq.msi_frame;
    for address in [0, frame, frame + 0x40, frame + 0x44, u64::MAX] {
        for data in [0, 27, 32, 127, 640, 1023, 8192, u32::MAX] {
            chip.send_msi(Msi { address, data });
        }
    }
    for line in [608, 987] {
        chip.set_line(line, true);
        chip.set_line(line, false);
    }
    rig.enter(&mut vcpu, image!("interrupts"), 0);
    assert_eq!(report(&mut vcpu), 1);
    chip.send_msi(message_of(FIRST));
    assert_eq!(report(&mut vcpu), FIRST, "nothing else is pending");
}

fn sgis<H: Hypervisor>()
where
    H::Vm: Vm<Arch = Aarch64>,
{
    with_cores::<H>(2, |rig, first, others| {
        for _ in 0..2 {
            rig.enter(first, image!("sgi"), 0);
            for round in 0..20 {
                assert_eq!(report(first), 2);
                if round > 0 {
                    assert_eq!(others.report(), (1, 0x101));
                }
                assert_eq!(report(first), 3);
            }
            others.reset(rig, first);
            // What the second core said between the last answer and its reset.
            others.forget();
        }
    });
}
