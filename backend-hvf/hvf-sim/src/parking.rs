//! `Parking`: what reaches a vCPU from other threads, and where it waits for it.

use std::{
    sync::{
        Condvar, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU8, Ordering::SeqCst},
    },
    time::Instant,
};

/// A vCPU as other threads see it.
#[derive(Debug, Default)]
pub(crate) struct Parking {
    /// `hv_vcpus_exit` was called since the last exit for it.
    canceled: AtomicBool,
    /// Lines from the GIC: IRQ in bit 0, FIQ in bit 1.
    lines: AtomicU8,
    /// The owner is in `hv_vcpu_run`.
    pub(crate) running: AtomicBool,
    gate: Mutex<()>,
    woken: Condvar,
}

impl Parking {
    pub(crate) fn cancel(&self) {
        self.canceled.store(true, SeqCst);
        self.wake();
    }

    pub(crate) fn is_canceled(&self) -> bool {
        self.canceled.load(SeqCst)
    }

    /// Answers whether it was canceled, once.
    pub(crate) fn take_canceled(&self) -> bool {
        self.canceled.swap(false, SeqCst)
    }

    pub(crate) fn lines(&self) -> u8 {
        self.lines.load(SeqCst)
    }

    /// Answers whether they are others than before.
    pub(crate) fn set_lines(&self, lines: u8) -> bool {
        let changed = self.lines.swap(lines, SeqCst) != lines;
        if changed {
            self.wake();
        }
        changed
    }

    /// Waits for an interrupt, [`cancel`](Self::cancel) or the deadline.
    pub(crate) fn wait(&self, deadline: Option<Instant>) {
        let mut gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
        while !self.is_canceled() && self.lines() == 0 {
            gate = match deadline.map(|deadline| deadline.saturating_duration_since(Instant::now())) {
                None => self.woken.wait(gate).unwrap_or_else(PoisonError::into_inner),
                Some(left) if left.is_zero() => return,
                Some(left) => self.woken.wait_timeout(gate, left).unwrap_or_else(PoisonError::into_inner).0,
            };
        }
    }

    fn wake(&self) {
        // Between a waiter's look and its sleep nobody else has the gate.
        drop(self.gate.lock().unwrap_or_else(PoisonError::into_inner));
        self.woken.notify_all();
    }
}
