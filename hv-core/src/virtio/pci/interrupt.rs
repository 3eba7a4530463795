//! A function's interrupts: MSI-X vectors for configuration and queues, or the ISR status with INTA#.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU16, Ordering},
    },
};

use crate::{pci::Function, virtio::queue::InterruptSink};

/// `VIRTIO_MSI_NO_VECTOR`: no interrupt.
const NO_VECTOR: u16 = 0xffff;

/// ISR status bits (4.1.4.5).
const USED_BUFFER: u8 = 1;
const CONFIG_CHANGE: u8 = 2;

/// Maps events to vectors.
pub(super) struct Interrupt {
    function: Arc<Function>,
    /// Held while INTA# changes, so that both agree.
    isr: Mutex<u8>,
    config: AtomicU16,
    queues: Box<[AtomicU16]>,
}

impl Interrupt {
    /// Nothing is mapped. There is a vector for the configuration and for each queue.
    pub(super) fn new(function: Arc<Function>, vectors: u16) -> Self {
        let queues = (1..vectors).map(|_| AtomicU16::new(NO_VECTOR)).collect();
        Self { function, isr: Mutex::new(0), config: AtomicU16::new(NO_VECTOR), queues }
    }

    pub(super) fn config_vector(&self) -> u16 {
        self.config.load(Ordering::Relaxed)
    }

    pub(super) fn set_config_vector(&self, vector: u16) {
        self.config.store(self.checked(vector), Ordering::Relaxed);
    }

    pub(super) fn queue_vector(&self, queue: u16) -> u16 {
        self.queues.get(usize::from(queue)).map_or(NO_VECTOR, |vector| vector.load(Ordering::Relaxed))
    }

    pub(super) fn set_queue_vector(&self, queue: u16, vector: u16) {
        if let Some(slot) = self.queues.get(usize::from(queue)) {
            slot.store(self.checked(vector), Ordering::Relaxed);
        }
    }

    /// A vector that does not exist is not mapped, which the driver reads back (4.1.5.1.2.1).
    fn checked(&self, vector: u16) -> u16 {
        if vector < self.function.msix_vectors() { vector } else { NO_VECTOR }
    }

    /// Reads the ISR status, which clears it and deasserts INTA#.
    pub(super) fn take_isr(&self) -> u8 {
        let mut before = 0;
        self.change_isr(|isr| {
            before = isr;
            0
        });
        before
    }

    /// Back to the state at power-on.
    pub(super) fn reset(&self) {
        self.take_isr();
        for vector in [&self.config].into_iter().chain(&self.queues) {
            vector.store(NO_VECTOR, Ordering::Relaxed);
        }
    }

    fn change_isr(&self, change: impl FnOnce(u8) -> u8) {
        let mut isr = self.isr.lock().unwrap_or_else(PoisonError::into_inner);
        *isr = change(*isr);
        self.function.set_intx(*isr != 0);
    }

    fn raise(&self, vector: u16, bit: u8) {
        if !self.function.is_msix_enabled() {
            self.change_isr(|isr| isr | bit);
        } else if vector != NO_VECTOR {
            self.function.fire(vector);
        }
    }
}

impl InterruptSink for Interrupt {
    fn queue_used(&self, queue: u16) {
        self.raise(self.queue_vector(queue), USED_BUFFER);
    }

    fn config_changed(&self) {
        self.raise(self.config_vector(), CONFIG_CHANGE);
    }
}

impl fmt::Debug for Interrupt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Interrupt")
    }
}
