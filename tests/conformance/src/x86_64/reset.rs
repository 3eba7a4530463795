//! What a reset brings back beside the registers.

use hv_core::{
    arch::X86_64,
    hypervisor::{Hypervisor, Vcpu, Vm},
};

use super::image;
use crate::{
    Case, Needs,
    rig::{Rig, VcpuOf, report},
};

/// What the program `show` reports at power-on: spurious vector (the local APIC is off), task priority, timer (masked),
/// LINT0 (`ExtINT`), LINT1 (NMI), the timer's initial count; its base address, of the first core; PAT, STAR, MTRRs, kvmclock; XMM5, DR0.
const POWER_ON: [u64; 13] =
    [0xff, 0, 1 << 16, 0x700, 0x400, 0, APIC_BASE, 0x0007_0406_0007_0406, 0, 0x806, 0, 0, 0];

/// Enabled, first core.
const APIC_BASE: u64 = 0xfee0_0900;
/// Its registers are MSRs.
const X2APIC: u64 = 1 << 10;

pub(super) fn cases<H: Hypervisor + 'static>() -> Vec<Case>
where
    H::Vm: Vm<Arch = X86_64>,
{
    vec![Case::new("reset_brings_back_apic_msrs_and_vectors", Needs::Full, reset::<H>)]
}

fn shown<H: Hypervisor>(rig: &Rig<H>, vcpu: &mut VcpuOf<H>) -> [u64; 13]
where
    H::Vm: Vm<Arch = X86_64>,
{
    rig.enter(vcpu, image!("show"), 0);
    POWER_ON.map(|_| report(vcpu))
}

fn reset<H: Hypervisor>()
where
    H::Vm: Vm<Arch = X86_64>,
{
    let rig = Rig::<H>::new(1);
    let mut vcpu = rig.vm.create_vcpu(0).unwrap();
    assert_eq!(shown(&rig, &mut vcpu), POWER_ON, "at power-on");
    rig.enter(&mut vcpu, image!("change"), APIC_BASE);
    assert_eq!(report(&mut vcpu), 1);
    let changed = shown(&rig, &mut vcpu);
    assert!(changed.iter().zip(POWER_ON).filter(|(new, old)| **new != *old).count() >= 8, "{changed:x?}");
    for apic_base in [APIC_BASE, APIC_BASE | X2APIC, APIC_BASE & !0x800] {
        rig.enter(&mut vcpu, image!("change"), apic_base);
        assert_eq!(report(&mut vcpu), 1);
        rig.vm.reset().unwrap();
        vcpu.reset().unwrap();
        assert_eq!(shown(&rig, &mut vcpu), POWER_ON, "after a reset from {apic_base:#x}");
    }
}
