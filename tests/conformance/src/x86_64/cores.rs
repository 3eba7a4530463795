//! More than one core, and where a core finds itself.

use std::{sync::mpsc, thread};

use hv_core::{
    arch::X86_64,
    hypervisor::{Exit, Hypervisor, Kick, Stop, Vcpu, Vm},
};

use super::image;
use crate::{
    Case, Needs,
    rig::{Rig, VcpuOf, report},
};

/// Where a started core writes its APIC id.
const HERE: u16 = 0x12;

pub(super) fn cases<H: Hypervisor + 'static>() -> Vec<Case>
where
    H::Vm: Vm<Arch = X86_64>,
{
    vec![
        Case::new("init_and_sipi_start_8_cores", Needs::Full, start::<H>),
        Case::new("reset_puts_a_core_back_to_wait_for_sipi", Needs::Full, start_again::<H>),
        Case::new("a_core_that_waits_for_sipi_can_be_kicked", Needs::Little, waiting::<H>),
        Case::new("as_many_cores_as_the_host_promises", Needs::Little, most::<H>),
        Case::new("a_triple_fault_stops_the_guest", Needs::Little, fault::<H>),
        Case::new("cpuid_tells_the_topology", Needs::Little, topology::<H>),
        Case::new("cpuid_of_one_core_has_no_topology", Needs::Full, one_core::<H>),
        Case::new("cpuid_tells_the_hypervisor", Needs::Little, hypervisor::<H>),
    ]
}

/// Runs the started core until it says who it is.
fn started(vcpu: &mut impl Vcpu) -> u8 {
    match vcpu.run().unwrap() {
        Exit::PioWrite { port: HERE, data: [id] } => *id,
        other => panic!("{other:x?}"),
    }
}

fn start<H: Hypervisor>()
where
    H::Vm: Vm<Arch = X86_64>,
{
    const CORES: u32 = 8;
    let rig = Rig::<H>::new(CORES);
    let (here, present) = mpsc::channel();
    thread::scope(|scope| {
        let mut first = rig.vm.create_vcpu(0).unwrap();
        for index in 1..CORES {
            let (vm, here) = (&rig.vm, here.clone());
            let (made, ready) = mpsc::channel();
            scope.spawn(move || {
                let mut vcpu = vm.create_vcpu(index).unwrap();
                made.send(()).unwrap();
                here.send((index, started(&mut vcpu))).unwrap();
            });
            ready.recv().unwrap();
        }
        drop(here);
        rig.vm.seal().unwrap();
        rig.enter(&mut first, image!("start"), 0);
        assert_eq!(report(&mut first), 1);
    });
    let mut cores: Vec<_> = present.iter().collect();
    cores.sort_unstable();
    assert!(cores.iter().all(|(index, id)| *index == u32::from(*id)), "{cores:?}");
    assert_eq!(cores.len(), 7);
}

/// Two cores on one thread: the second runs only after the first has started it.
fn start_again<H: Hypervisor>()
where
    H::Vm: Vm<Arch = X86_64>,
{
    let rig = Rig::<H>::new(2);
    let (mut first, mut second) = (rig.vm.create_vcpu(0).unwrap(), rig.vm.create_vcpu(1).unwrap());
    for _ in 0..3 {
        waits(&mut second);
        rig.enter(&mut first, image!("start"), 0);
        assert_eq!(report(&mut first), 1);
        assert_eq!(started(&mut second), 1);
        rig.vm.reset().unwrap();
        first.reset().unwrap();
        second.reset().unwrap();
    }
}

fn waits(vcpu: &mut impl Vcpu) {
    for _ in 0..3 {
        let kick = vcpu.kick();
        let kicker = thread::spawn(move || kick.kick());
        assert_eq!(vcpu.run().unwrap(), Exit::Kicked);
        kicker.join().unwrap();
    }
}

fn waiting<H: Hypervisor>()
where
    H::Vm: Vm<Arch = X86_64>,
{
    let rig = Rig::<H>::new(2);
    let _first = rig.vm.create_vcpu(0).unwrap();
    waits(&mut rig.vm.create_vcpu(1).unwrap());
}

fn most<H: Hypervisor>()
where
    H::Vm: Vm<Arch = X86_64>,
{
    let most = H::open().unwrap().facts().unwrap().max_vcpus;
    assert!(most >= 1);
    let rig = Rig::<H>::new(most);
    let mut cores: Vec<VcpuOf<H>> = (0..most).map(|index| rig.vm.create_vcpu(index).unwrap()).collect();
    rig.vm.seal().unwrap();
    rig.enter(&mut cores[0], image!("halt"), 0);
    assert_eq!(report(&mut cores[0]), 1);
    for core in &mut cores {
        core.reset().unwrap();
    }
}

fn fault<H: Hypervisor>()
where
    H::Vm: Vm<Arch = X86_64>,
{
    let (rig, mut vcpu) = Rig::<H>::single();
    rig.enter(&mut vcpu, image!("fault"), 0);
    let Exit::Stop(Stop::Crash(reason)) = vcpu.run().unwrap() else { panic!("it goes on") };
    assert!(!reason.is_empty() && !reason.contains('\n'), "{reason:?}");
}

/// EAX, EBX, ECX, EDX of a leaf, as core 0 of `count` sees it.
fn cpuid<H: Hypervisor>(count: u32, leaf: u32, subleaf: u32) -> [u32; 4]
where
    H::Vm: Vm<Arch = X86_64>,
{
    let rig = Rig::<H>::new(count);
    let mut vcpu = rig.vm.create_vcpu(0).unwrap();
    rig.enter(&mut vcpu, image!("cpuid"), u64::from(subleaf) << 32 | u64::from(leaf));
    let words =
        |value: u64| [u32::try_from(value >> 32).unwrap(), u32::try_from(value & 0xffff_ffff).unwrap()];
    let ([eax, ebx], [ecx, edx]) = (words(report(&mut vcpu)), words(report(&mut vcpu)));
    [eax, ebx, ecx, edx]
}

fn topology<H: Hypervisor>()
where
    H::Vm: Vm<Arch = X86_64>,
{
    let [_, ebx, ecx, edx] = cpuid::<H>(6, 1, 0);
    assert_eq!((ebx >> 24, ebx >> 16 & 0xff), (0, 8), "APIC id, and APIC ids of the package");
    assert_eq!((ecx >> 31, edx >> 28 & 1), (1, 1), "in a virtual machine, with more than one core");
    let [last, ..] = cpuid::<H>(6, 0, 0);
    if last >= 0xb {
        assert_eq!(cpuid::<H>(6, 0xb, 0), [0, 1, 0x100, 0], "one thread in a core");
        assert_eq!(cpuid::<H>(6, 0xb, 1), [3, 6, 0x201, 0], "six cores in the package");
    }
}

/// A host that interprets guests may show them its own bit.
fn one_core<H: Hypervisor>()
where
    H::Vm: Vm<Arch = X86_64>,
{
    let [_, ebx, _, edx] = cpuid::<H>(1, 1, 0);
    assert_eq!((ebx >> 16 & 0xff, edx >> 28 & 1), (1, 0));
}

fn hypervisor<H: Hypervisor>()
where
    H::Vm: Vm<Arch = X86_64>,
{
    let [last, ebx, ecx, edx] = cpuid::<H>(1, 0x4000_0000, 0);
    assert_eq!([ebx, ecx, edx].map(u32::to_le_bytes).as_flattened(), b"KVMKVMKVM\0\0\0");
    if last >= 0x4000_0010 {
        let [tsc, bus, ..] = cpuid::<H>(1, 0x4000_0010, 0);
        assert!(tsc > 100_000 && bus == 1_000_000, "{tsc} kHz, {bus} kHz");
    }
}
