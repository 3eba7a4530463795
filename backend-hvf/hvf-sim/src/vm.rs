//! `Vm`: the process's virtual machine.

use std::sync::{
    Arc, Mutex, MutexGuard, OnceLock, PoisonError,
    atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
};

use crate::{
    alarm::{self, Alarm},
    engine::Processor,
    error::{Error, Result},
    gic::Gic,
    identity,
    memory::Memory,
    parking::Parking,
    turns::Turns,
};

/// Most vCPUs of a VM (model).
pub(crate) const MAX_VCPUS: usize = 64;

/// What a process has at most one of.
///
/// Whoever needs more than one of its locks takes the processor's turn first, then the GIC, then the vCPUs.
#[derive(Debug)]
pub(crate) struct Vm {
    pub(crate) turns: Turns,
    pub(crate) memory: Mutex<Memory>,
    pub(crate) address_bits: u32,
    pub(crate) alarm: Arc<Alarm>,
    /// Who is on the processor, plus one.
    pub(crate) on_processor: AtomicUsize,
    /// Whose state the processor had last, plus one. It changes with the turn only.
    pub(crate) last: AtomicUsize,
    /// A vCPU has run.
    pub(crate) has_run: AtomicBool,
    gic: OnceLock<Mutex<Gic>>,
    vcpus: Mutex<Vec<Option<Arc<Parking>>>>,
}

static VM: Mutex<Option<Arc<Vm>>> = Mutex::new(None);

fn slot() -> MutexGuard<'static, Option<Arc<Vm>>> {
    VM.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `hv_vm_create`. One VM in a process (peer: hyperlight#1681, `HV_BUSY` for the second).
pub(crate) fn create(address_bits: Option<u32>) -> Result<()> {
    let mut slot = slot();
    if slot.is_some() {
        return Err(Error::Busy);
    }
    let alarm = Arc::new(Alarm::default());
    let vm = Arc::new(Vm {
        turns: Turns::new(Processor::open()?),
        memory: Mutex::new(Memory::new()),
        address_bits: address_bits.unwrap_or(identity::DEFAULT_ADDRESS_BITS),
        alarm: Arc::clone(&alarm),
        on_processor: AtomicUsize::new(0),
        last: AtomicUsize::new(0),
        has_run: AtomicBool::new(false),
        gic: OnceLock::new(),
        vcpus: Mutex::default(),
    });
    alarm::start(alarm, Arc::downgrade(&vm)).map_err(|_| Error::NoResources)?;
    *slot = Some(vm);
    Ok(())
}

/// `hv_vm_destroy`. Model: vCPUs go first.
pub(crate) fn destroy() -> Result<()> {
    let mut slot = slot();
    let vm = slot.as_ref().ok_or(Error::NoDevice)?;
    if vm.vcpus().iter().any(Option::is_some) {
        return Err(Error::Busy);
    }
    let Some(mut vm) = slot.take() else { return Ok(()) };
    vm.alarm.end();
    // The processor is the C code's only one, so it is closed before another can be opened. Others have the VM for the time of a
    // call.
    loop {
        match Arc::try_unwrap(vm) {
            Ok(vm) => {
                drop(vm);
                return Ok(());
            }
            Err(shared) => vm = shared,
        }
        std::thread::yield_now();
    }
}

/// The VM, if there is one.
pub(crate) fn current() -> Result<Arc<Vm>> {
    slot().clone().ok_or(Error::NoDevice)
}

impl Vm {
    pub(crate) fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn vcpus(&self) -> MutexGuard<'_, Vec<Option<Arc<Parking>>>> {
        self.vcpus.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn gic(&self) -> Option<MutexGuard<'_, Gic>> {
        self.gic.get().map(|gic| gic.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// `hv_gic_create`: once, and before vCPUs (header).
    pub(crate) fn add_gic(&self, gic: Gic) -> Result<()> {
        let vcpus = self.vcpus();
        // A vCPU that is gone has been there.
        if !vcpus.is_empty() {
            return Err(Error::Busy);
        }
        self.gic.set(Mutex::new(gic)).map_err(|_| Error::Busy)
    }

    /// Takes vCPU `index` from the guest, if it is there.
    pub(crate) fn fetch(&self, index: usize) {
        if self.on_processor.load(SeqCst) == index + 1 {
            self.turns.stop();
        }
    }

    /// Tells vCPUs of their lines after a change of the GIC.
    pub(crate) fn tell_lines(&self, gic: &Gic) {
        for (index, parking) in self.vcpus().iter().enumerate() {
            if let Some(parking) = parking
                && parking.set_lines(gic.lines(index))
            {
                self.fetch(index);
            }
        }
    }

    /// Changes the GIC, and tells vCPUs.
    pub(crate) fn with_gic<T>(&self, change: impl FnOnce(&mut Gic) -> T) -> Option<T> {
        let mut gic = self.gic()?;
        let result = change(&mut gic);
        self.tell_lines(&gic);
        Some(result)
    }

    /// No vCPU is in `hv_vcpu_run`.
    pub(crate) fn is_stopped(&self) -> bool {
        !self.vcpus().iter().flatten().any(|parking| parking.running.load(SeqCst))
    }
}

/// The processor for a question about it: the VM's, or one for the time of the question.
pub(crate) fn with_processor<T>(ask: impl FnOnce(&Processor) -> T) -> Result<T> {
    let slot = slot();
    match slot.clone() {
        Some(vm) => {
            // A VM goes only when nobody has it, so that the slot need not be held.
            drop(slot);
            Ok(ask(&vm.turns.take_at_once()))
        }
        None => Processor::open().map(|processor| ask(&processor)),
    }
}
