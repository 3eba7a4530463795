//! What a reset brings back beside the registers.

use hv_core::{
    arch::Aarch64,
    hypervisor::{Hypervisor, Vcpu, Vm},
};

use crate::{
    Case, Needs,
    rig::{Rig, VcpuOf, report},
};

/// How many values the program `show` reports.
const SHOWN: usize = 19;

pub(super) fn cases<H: Hypervisor + 'static>() -> Vec<Case>
where
    H::Vm: Vm<Arch = Aarch64>,
{
    vec![Case::new("reset_brings_back_gic_timer_and_registers", Needs::Little, reset::<H>)]
}

fn shown<H: Hypervisor>(rig: &Rig<H>, vcpu: &mut VcpuOf<H>) -> [u64; SHOWN]
where
    H::Vm: Vm<Arch = Aarch64>,
{
    rig.enter(vcpu, image!("show"), 0);
    [(); SHOWN].map(|()| report(vcpu))
}

fn reset<H: Hypervisor>()
where
    H::Vm: Vm<Arch = Aarch64>,
{
    let (rig, mut vcpu) = Rig::<H>::single();
    let power_on = shown(&rig, &mut vcpu);
    for _ in 0..2 {
        rig.enter(&mut vcpu, image!("change"), 0);
        assert_eq!(report(&mut vcpu), 1);
        let changed = shown(&rig, &mut vcpu);
        let changes = changed.iter().zip(power_on).filter(|(new, old)| **new != *old).count();
        assert!(changes >= 12, "{changed:x?}");
        rig.vm.reset().unwrap();
        vcpu.reset().unwrap();
        assert_eq!(shown(&rig, &mut vcpu), power_on);
    }
}
