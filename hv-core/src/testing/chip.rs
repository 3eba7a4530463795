//! `RecordingChip`: an interrupt controller that remembers, and lets a test wait.

use std::{
    collections::BTreeSet,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
};

use super::DEADLINE;
use crate::irq::{IrqChip, Msi};

/// Remembers the level of each line and which messages arrived; stands in for the guest's interrupt controller.
#[derive(Debug, Default)]
pub struct RecordingChip {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    high: BTreeSet<u32>,
    /// As in an APIC's IRR: a message that is pending already is not counted again.
    pending: BTreeSet<(u64, u32)>,
    /// Every rise of a line and every message since the start.
    interrupts: u64,
}

impl RecordingChip {
    /// Whether line `gsi` is high.
    pub fn line(&self, gsi: u32) -> bool {
        self.state().high.contains(&gsi)
    }

    /// Waits until line `gsi` is high; false if that takes longer than [`DEADLINE`].
    pub fn wait_line(&self, gsi: u32) -> bool {
        self.wait(|state| state.high.contains(&gsi))
    }

    /// Waits for `message` and takes it; false if that takes longer than [`DEADLINE`].
    pub fn wait_msi(&self, message: Msi) -> bool {
        self.wait(|state| state.pending.remove(&(message.address, message.data)))
    }

    /// Takes `message` if it is pending.
    pub fn take_msi(&self, message: Msi) -> bool {
        self.state().pending.remove(&(message.address, message.data))
    }

    /// Rises of lines and messages since the start.
    pub fn interrupts(&self) -> u64 {
        self.state().interrupts
    }

    fn wait(&self, mut come: impl FnMut(&mut State) -> bool) -> bool {
        let waited = self.changed.wait_timeout_while(self.state(), DEADLINE, |state| !come(state));
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl IrqChip for RecordingChip {
    fn set_line(&self, gsi: u32, high: bool) {
        let mut state = self.state();
        let changed = if high { state.high.insert(gsi) } else { state.high.remove(&gsi) };
        state.interrupts += u64::from(high && changed);
        self.changed.notify_all();
    }

    fn send_msi(&self, message: Msi) {
        let mut state = self.state();
        state.pending.insert((message.address, message.data));
        state.interrupts += 1;
        self.changed.notify_all();
    }
}
