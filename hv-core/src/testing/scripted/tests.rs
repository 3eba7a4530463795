//! The scripted backend keeps the contract that machines rely on.

use std::{
    sync::{Arc, mpsc},
    thread,
};

use super::*;
use crate::{
    arch::x86_64::IrqPlan,
    bus::{Bus, BusDevice},
    hypervisor::{Access, Exit, Kick, Region, Stop, Vcpu, Vm},
    irq::IrqChip,
    memory::GuestAddress,
};

struct Echo;

impl BusDevice for Echo {
    fn read(&self, offset: u64, data: &mut [u8]) {
        data.fill(u8::try_from(offset).unwrap());
    }
    fn write(&self, _: u64, _: &[u8]) {}
}

fn vm(scripts: Vec<Script>) -> (Scripted, ScriptedVm) {
    let host = Scripted::new(scripts);
    let vm = host.create_vm(&VmPlan { vcpus: 2, address_bits: 39, irq: IrqPlan }).unwrap();
    (host, vm)
}

/// What a machine does with a core.
fn run(vcpu: &mut ScriptedVcpu, bus: &Bus) -> Option<Stop> {
    loop {
        match vcpu.run().unwrap() {
            Exit::MmioRead { address, data } => bus.read(address, data),
            Exit::MmioWrite { address, data } => bus.write(address, data),
            Exit::PioRead { port, data } => bus.read(port.into(), data),
            Exit::PioWrite { port, data } => bus.write(port.into(), data),
            Exit::Kicked => return None,
            Exit::Stop(stop) => return Some(stop),
        }
    }
}

fn bus() -> Bus {
    let mut bus = Bus::default();
    bus.insert(0x10_0000, 0x10, Arc::new(Echo)).unwrap();
    bus
}

#[test]
fn a_core_reads_what_the_bus_answers() {
    let reads = |expected| vec![Step::Read(0x10_0004, expected), Step::PowerOff];
    let (_, vm) = vm(vec![vec![reads(vec![4, 4])], vec![reads(vec![4, 5])]]);
    assert_eq!(run(&mut vm.create_vcpu(0).unwrap(), &bus()), Some(Stop::PowerOff));
    let crash = run(&mut vm.create_vcpu(1).unwrap(), &bus());
    let line = "load from 0x100004 found [04, 04], not [04, 05]";
    assert_eq!(crash, Some(Stop::Crash(line.into())));
}

#[test]
fn mapped_ram_takes_accesses_without_an_exit() {
    let script = vec![Step::Write(0x800, vec![1, 2]), Step::Read(0x800, vec![1, 2]), Step::PowerOff];
    let (_, vm) = vm(vec![vec![script]]);
    let region = Arc::new(Region::from_range(GuestAddress(0), 0x1000, None).unwrap());
    vm.map(region.clone(), Access::ReadWrite).unwrap();
    vm.map(region, Access::ReadWrite).unwrap_err();
    assert_eq!(vm.create_vcpu(0).unwrap().run().unwrap(), Exit::Stop(Stop::PowerOff));
    vm.unmap(0).unwrap();
    vm.unmap(0).unwrap_err();
}

#[test]
fn a_halted_core_wakes_by_message_or_kick() {
    let message = Msi { address: 0xfee0_0000, data: 7 };
    let (host, vm) = vm(vec![vec![vec![Step::WaitMsi(message), Step::Reset], vec![]]]);
    thread::scope(|scope| {
        let (give_kick, take_kick) = mpsc::channel();
        let (tell, told) = mpsc::channel();
        scope.spawn(move || {
            let mut vcpu = vm.create_vcpu(0).unwrap();
            give_kick.send(vcpu.kick()).unwrap();
            for _ in 0..2 {
                tell.send(run(&mut vcpu, &Bus::default())).unwrap();
            }
            vcpu.reset().unwrap();
            tell.send(run(&mut vcpu, &Bus::default())).unwrap();
        });
        let kick = take_kick.recv().unwrap();
        kick.kick();
        assert_eq!(told.recv().unwrap(), None);
        host.chip.send_msi(message);
        assert_eq!(told.recv().unwrap(), Some(Stop::Reset));
        kick.kick();
        assert_eq!(told.recv().unwrap(), None);
    });
}

#[test]
fn a_core_is_made_once_and_all_before_the_seal() {
    let (_, vm) = vm(vec![]);
    let _first = vm.create_vcpu(0).unwrap();
    assert!(vm.create_vcpu(0).is_err());
    assert!(vm.create_vcpu(2).is_err());
    assert!(vm.seal().is_err());
    let _second = vm.create_vcpu(1).unwrap();
    vm.seal().unwrap();
}

#[test]
fn either_architecture_has_its_registers_noted_when_a_core_begins() {
    let host = Scripted::<Aarch64>::new(vec![vec![vec![Step::PowerOff]]]);
    let irq = aarch64::IrqPlan {
        distributor: 0,
        redistributors: 0x1_0000,
        msi_frame: 0x3_0000,
        msis: 128..640,
        intids: 640,
    };
    let vm = host.create_vm(&VmPlan { vcpus: 1, address_bits: 36, irq }).unwrap();
    let mut vcpu = vm.create_vcpu(0).unwrap();
    let start = aarch64::CpuState { pc: 0x8020_0000, ..Default::default() };
    vcpu.set_state(&start).unwrap();
    assert_eq!(vcpu.run().unwrap(), Exit::Stop(Stop::PowerOff));
    assert_ne!(vcpu.state().unwrap(), start, "the guest ran");
    assert_eq!(host.starts(0), [start]);
}
