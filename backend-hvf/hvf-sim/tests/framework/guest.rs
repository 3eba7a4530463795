//! `Guest`: a VM with a little memory, alone in the process.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use crate::calls::{self, Exit, Pages, Reg, Sys, Vcpu};

/// Guest-physical address of the memory.
pub(crate) const RAM: u64 = 0x8000_0000;
pub(crate) const RAM_SIZE: usize = 0x1_0000;
/// Offset of the vectors, and of the handler of an IRQ and an FIQ at EL1 with its own stack.
pub(crate) const VECTORS: usize = 0x8000;
pub(crate) const IRQ_HANDLER: usize = VECTORS + 0x280;
pub(crate) const FIQ_HANDLER: usize = VECTORS + 0x300;
/// Offset of memory that no program is in.
pub(crate) const DATA: usize = 0xc000;

pub(crate) const DISTRIBUTOR: u64 = 0x0800_0000;
pub(crate) const FRAME: u64 = 0x0801_0000;
pub(crate) const REDISTRIBUTORS: u64 = 0x0a00_0000;

static ONE: Mutex<()> = Mutex::new(());

/// A VM. Drop it after its vCPUs.
#[derive(Debug)]
pub(crate) struct Guest {
    pub(crate) ram: Pages,
    _alone: MutexGuard<'static, ()>,
}

/// Nothing else of the process has a VM while this is held.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Guest {
    /// A VM with `program` at the start of its memory.
    pub(crate) fn new(program: &[u32]) -> Self {
        let alone = alone();
        hvf_sim::wfi_waits(false);
        calls::create_vm(None).unwrap();
        let ram = Pages::allocate(RAM_SIZE).unwrap();
        ram.map(0, RAM, RAM_SIZE, 7).unwrap();
        ram.write(0, program);
        Self { ram, _alone: alone }
    }

    /// The same with a GIC of the framework.
    pub(crate) fn with_gic(program: &[u32]) -> Self {
        let guest = Self::new(program);
        calls::create_gic(DISTRIBUTOR, REDISTRIBUTORS, FRAME).unwrap();
        guest
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        if !thread::panicking() {
            calls::unmap(RAM, RAM_SIZE).unwrap();
        }
        calls::destroy_vm().unwrap_or_else(|error| eprintln!("hv_vm_destroy: {error:#x}"));
    }
}

/// A vCPU of this thread at `offset` of the memory, with affinity `number`. It goes with the value.
#[derive(Debug)]
pub(crate) struct Core(pub(crate) Vcpu);

impl Core {
    pub(crate) fn new(number: u64, offset: usize) -> Self {
        let core = Self(Vcpu::create().unwrap());
        core.set_sys(Sys::MPIDR_EL1, 1 << 31 | number);
        core.set_sys(Sys::VBAR_EL1, RAM + VECTORS as u64);
        core.set(Reg::CPSR, 0x3c5);
        core.set(Reg::PC, RAM + offset as u64);
        core
    }

    pub(crate) fn id(&self) -> u64 {
        self.0.id
    }

    pub(crate) fn get(&self, register: Reg) -> u64 {
        calls::reg(self.id(), register).unwrap()
    }

    pub(crate) fn set(&self, register: Reg, value: u64) {
        calls::set_reg(self.id(), register, value).unwrap();
    }

    pub(crate) fn set_sys(&self, register: Sys, value: u64) {
        calls::set_sys_reg(self.id(), register, value).unwrap();
    }

    /// Where PC is in the memory.
    pub(crate) fn offset(&self) -> u64 {
        self.get(Reg::PC) - RAM
    }

    pub(crate) fn run(&self) -> Exit {
        self.0.run().unwrap()
    }

    /// Runs until a hypercall. Answers its number.
    pub(crate) fn hypercall(&self) -> u64 {
        match self.run() {
            Exit::Exception { class: 0x16, iss, .. } => iss & 0xffff,
            other => panic!("{other:x?} at {:#x}", self.offset()),
        }
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        calls::destroy_vcpu(self.id()).unwrap_or_else(|error| eprintln!("hv_vcpu_destroy: {error:#x}"));
    }
}

/// Cancels the vCPU from another thread, once it has surely begun.
pub(crate) fn cancel_later(id: u64) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        thread::sleep(Duration::from_millis(20));
        calls::exit_vcpus(&[id]).unwrap();
    })
}
