//! Lines of the IOAPIC, and messages.

use std::{sync::Arc, thread};

use hv_core::{
    arch::X86_64,
    hypervisor::{Hypervisor, Vm},
    irq::{IrqChip, Msi},
};

use super::image;
use crate::{
    Case, Needs,
    rig::{Rig, VcpuOf, report},
};

/// The pin that the guest program redirects, and the vectors that it reports.
const PIN: u32 = 20;
const FIRST: u64 = 0x30;
const SECOND: u64 = 0x31;
/// Trigger mode of an IOAPIC's redirection entry.
const LEVEL: u64 = 1 << 15;

pub(super) fn cases<H: Hypervisor + 'static>() -> Vec<Case>
where
    H::Vm: Vm<Arch = X86_64>,
{
    vec![
        Case::new("a_message_interrupts_a_halted_core", Needs::Full, message::<H>),
        Case::new("an_edge_interrupts_once", Needs::Full, edge::<H>),
        Case::new("a_level_interrupts_until_it_is_low", Needs::Full, level::<H>),
        Case::new("messages_that_nobody_takes_are_lost", Needs::Little, lost::<H>),
    ]
}

fn machine<H: Hypervisor>(entry: u64) -> (Rig<H>, VcpuOf<H>, Arc<dyn IrqChip>)
where
    H::Vm: Vm<Arch = X86_64>,
{
    let rig = Rig::<H>::new(1);
    let mut vcpu = rig.vm.create_vcpu(0).unwrap();
    let chip = rig.vm.irq_chip();
    rig.enter(&mut vcpu, image!("interrupts"), entry);
    assert_eq!(report(&mut vcpu), 1);
    (rig, vcpu, chip)
}

/// To core 0, fixed, edge.
fn to_first_core(vector: u64) -> Msi {
    Msi { address: 0xfee0_0000, data: u32::try_from(vector).unwrap() }
}

fn message<H: Hypervisor>()
where
    H::Vm: Vm<Arch = X86_64>,
{
    let (_rig, mut vcpu, chip) = machine::<H>(FIRST);
    for vector in [FIRST, SECOND, FIRST] {
        let chip = Arc::clone(&chip);
        let sender = thread::spawn(move || chip.send_msi(to_first_core(vector)));
        assert_eq!(report(&mut vcpu), vector);
        sender.join().unwrap();
    }
}

fn edge<H: Hypervisor>()
where
    H::Vm: Vm<Arch = X86_64>,
{
    let (_rig, mut vcpu, chip) = machine::<H>(FIRST);
    for _ in 0..2 {
        chip.set_line(PIN, true);
        assert_eq!(report(&mut vcpu), FIRST);
        // Still high: no second interrupt comes before this message's.
        chip.send_msi(to_first_core(SECOND));
        assert_eq!(report(&mut vcpu), SECOND);
        chip.set_line(PIN, false);
        chip.send_msi(to_first_core(SECOND));
        assert_eq!(report(&mut vcpu), SECOND);
    }
}

fn level<H: Hypervisor>()
where
    H::Vm: Vm<Arch = X86_64>,
{
    let (_rig, mut vcpu, chip) = machine::<H>(FIRST | LEVEL);
    for _ in 0..2 {
        chip.set_line(PIN, true);
        assert_eq!([report(&mut vcpu), report(&mut vcpu), report(&mut vcpu)], [FIRST; 3]);
        // The guest has not yet ended the third one.
        chip.set_line(PIN, false);
        chip.send_msi(to_first_core(SECOND));
        assert_eq!(report(&mut vcpu), SECOND);
    }
}

fn lost<H: Hypervisor>()
where
    H::Vm: Vm<Arch = X86_64>,
{
    let rig = Rig::<H>::new(1);
    let chip = rig.vm.irq_chip();
    for address in [0, 0xfee0_0000, 0xfeef_f000, u64::MAX] {
        for data in [0, 0x30, 0x700, u32::MAX] {
            chip.send_msi(Msi { address, data });
        }
    }
    let _vcpu = rig.vm.create_vcpu(0).unwrap();
    chip.send_msi(Msi { address: 0xfee4_0000, data: 0x30 });
}
