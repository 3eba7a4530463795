//! `Cores`: what brings a machine's cores back, from any thread; `VcpuKick`: one of them.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use hv_core::hypervisor::Kick;

use crate::{framework, power::Power};

/// The cores of one machine. It outlives the machine in the hands of those who kick.
#[derive(Debug)]
pub(crate) struct Cores {
    pub(crate) power: Power,
    /// The framework's names of the cores that are there. A name is given up before its core is, under the lock.
    names: Box<[Mutex<Option<u64>>]>,
    /// A core has waited for an interrupt outside of the framework, so interrupts must be told.
    waits: AtomicBool,
}

impl Cores {
    pub(crate) fn new(vcpus: u32, address_bits: u8) -> Self {
        Self {
            power: Power::new(vcpus, address_bits),
            names: (0..vcpus).map(|_| Mutex::default()).collect(),
            waits: AtomicBool::new(false),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.names.len()
    }

    /// Core `index` has a name, or has one no more.
    pub(crate) fn set_name(&self, index: u32, name: Option<u64>) {
        if let Some(mut slot) = self.name(index) {
            *slot = name;
        }
    }

    /// Brings core `index` out of the guest, if it is there.
    pub(crate) fn bring_back(&self, index: u32) {
        if let Some(name) = self.name(index).as_deref().copied().flatten()
            && let Err(error) = framework::stop_running(name)
        {
            tracing::debug!("vCPU {index}: {error}");
        }
    }

    /// Brings all out of the guest but core `index`.
    pub(crate) fn bring_back_others(&self, index: u32) {
        (0..).zip(&self.names).map(|(other, _)| other).filter(|other| *other != index).for_each(|other| {
            self.bring_back(other);
        });
    }

    /// A core is about to wait outside of the framework. Answers whether interrupts are told already; if not, one may
    /// have come untold, and it must not sleep yet.
    pub(crate) fn will_wait(&self) -> bool {
        self.waits.swap(true, Ordering::SeqCst)
    }

    /// An interrupt came: who waits for one looks.
    pub(crate) fn interrupt(&self) {
        if self.waits.load(Ordering::SeqCst) {
            self.power.interrupt_all();
        }
    }

    fn name(&self, index: u32) -> Option<MutexGuard<'_, Option<u64>>> {
        let slot = self.names.get(usize::try_from(index).ok()?)?;
        Some(slot.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Brings one core back.
#[derive(Clone)]
pub struct VcpuKick {
    cores: Arc<Cores>,
    index: u32,
}

impl VcpuKick {
    pub(crate) fn new(cores: Arc<Cores>, index: u32) -> Self {
        Self { cores, index }
    }
}

impl Kick for VcpuKick {
    /// Flag first: the core looks at it before it enters the guest, and a call that comes after its look makes the
    /// framework turn it away at the door.
    fn kick(&self) {
        self.cores.power.kick(self.index);
        self.cores.bring_back(self.index);
    }
}

impl fmt::Debug for VcpuKick {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VcpuKick({})", self.index)
    }
}
