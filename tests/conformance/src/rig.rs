//! `Rig`: a machine with RAM and one guest program, for a case to run.

use std::{marker::PhantomData, sync::Arc};

use hv_core::{
    arch::Arch,
    hypervisor::{Access, ArchOf, Exit, Hypervisor, Region, Vcpu, Vm, VmPlan},
};
use vm_memory::{Bytes, GuestAddress, MemoryRegionAddress};

use crate::Case;

/// A store of 8 bytes here is a message of the guest program.
pub(crate) const REPORT: u64 = 0xd000_0000;
/// Where a case plays a device.
pub(crate) const DEVICE: u64 = 0xd000_1000;
/// What a program reports when it panics.
const PANIC: u64 = 0xdead;
/// RAM from address 0 on.
pub(crate) const RAM: u64 = 2 << 20;
/// The largest page of any host: regions are multiples of it.
pub(crate) const PAGE: u64 = 16 << 10;

/// The guest programs that each architecture has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is described at the top of its source")]
pub enum Program {
    Mmio,
    Load,
    Store,
    Spin,
    Halt,
}

/// What the suite must know of an architecture.
pub trait Programs: Arch {
    /// A plan for `vcpus` cores.
    fn plan(vcpus: u32) -> VmPlan<Self>;
    /// The flat image of a program.
    fn image(program: Program) -> &'static [u8];
    /// Puts an image, and what it needs to run, into RAM at address 0; says how the first core enters it.
    fn load(image: &[u8], argument: u64, ram: &Region) -> Self::CpuState;
    /// The register that the program `load` loads to.
    fn loaded(state: &Self::CpuState) -> u64;
    /// The entry with all other registers set, each differently, to values that the host must keep.
    fn distinct(entry: Self::CpuState) -> Self::CpuState;
    /// What must be equal in the registers of two cores in the same state.
    fn comparable(state: &Self::CpuState) -> String;
    /// Cases of this architecture alone.
    fn cases<H: Hypervisor + 'static>() -> Vec<Case>
    where
        H::Vm: Vm<Arch = Self>;
}

/// A machine with RAM.
pub(crate) struct Rig<H: Hypervisor> {
    pub(crate) vm: H::Vm,
    pub(crate) ram: Arc<Region>,
    _hypervisor: PhantomData<H>,
}

pub(crate) type VcpuOf<H> = <<H as Hypervisor>::Vm as Vm>::Vcpu;

impl<H: Hypervisor> Rig<H>
where
    ArchOf<H>: Programs,
{
    /// A machine with RAM and no core yet.
    pub(crate) fn new(vcpus: u32) -> Self {
        let vm = H::open().unwrap().create_vm(&ArchOf::<H>::plan(vcpus)).unwrap();
        let ram = region(0, RAM);
        vm.map(Arc::clone(&ram), Access::ReadWrite).unwrap();
        Self { vm, ram, _hypervisor: PhantomData }
    }

    /// A machine with one core, at power-on.
    pub(crate) fn single() -> (Self, VcpuOf<H>) {
        let rig = Self::new(1);
        let vcpu = rig.vm.create_vcpu(0).unwrap();
        rig.vm.seal().unwrap();
        (rig, vcpu)
    }

    /// A machine with one core that is about to enter `program`.
    pub(crate) fn with(program: Program, argument: u64) -> (Self, VcpuOf<H>) {
        let (rig, mut vcpu) = Self::single();
        rig.enter(&mut vcpu, ArchOf::<H>::image(program), argument);
        (rig, vcpu)
    }

    /// Makes the core enter the program `image`.
    pub(crate) fn enter(&self, vcpu: &mut VcpuOf<H>, image: &[u8], argument: u64) {
        vcpu.set_state(&ArchOf::<H>::load(image, argument, &self.ram)).unwrap();
    }
}

/// RAM at `base`.
pub(crate) fn region(base: u64, size: u64) -> Arc<Region> {
    let size = size.try_into().unwrap();
    Arc::new(Region::from_range(GuestAddress(base), size, None).unwrap())
}

/// RAM at `base` that begins with `value`.
pub(crate) fn region_with(base: u64, value: u64) -> Arc<Region> {
    let region = region(base, PAGE);
    region.write_obj(value, MemoryRegionAddress(0)).unwrap();
    region
}

/// Runs the core until it reports, which must be the next thing that it does.
pub(crate) fn report(vcpu: &mut impl Vcpu) -> u64 {
    let value = reported(&vcpu.run().unwrap());
    assert_ne!(value, PANIC, "the guest program panicked");
    value
}

/// What the exit, which must be one, reports.
pub(crate) fn reported(exit: &Exit<'_>) -> u64 {
    match exit {
        Exit::MmioWrite { address: REPORT, data } => u64::from_le_bytes((*data).try_into().unwrap()),
        other => panic!("instead of a report: {other:x?}"),
    }
}

/// Runs the core until it loads from `address`, which must be the next thing that it does, and answers.
pub(crate) fn answer(vcpu: &mut impl Vcpu, address: u64, answer: &[u8]) {
    match vcpu.run().unwrap() {
        Exit::MmioRead { address: from, data } if from == address => data.copy_from_slice(answer),
        other => panic!("instead of a load from {address:#x}: {other:x?}"),
    }
}
