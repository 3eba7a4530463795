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

/// What a [`RecordingChip`] remembers.
#[derive(Debug, Default)]
pub(super) struct State {
    high: BTreeSet<u32>,
    /// As in an APIC's IRR: a message that is pending already is not counted again.
    pending: BTreeSet<(u64, u32)>,
    /// Every rise of a line and every message since the start.
    interrupts: u64,
}

impl State {
    /// Whether line `gsi` is high.
    pub(super) fn line(&self, gsi: u32) -> bool {
        self.high.contains(&gsi)
    }

    /// Takes `message` if it is pending.
    pub(super) fn take(&mut self, message: Msi) -> bool {
        self.pending.remove(&(message.address, message.data))
    }
}

impl RecordingChip {
    /// Whether line `gsi` is high.
    pub fn line(&self, gsi: u32) -> bool {
        self.state().line(gsi)
    }

    /// Waits until line `gsi` is high; false if that takes longer than [`DEADLINE`].
    pub fn wait_line(&self, gsi: u32) -> bool {
        self.wait(|state| state.line(gsi))
    }

    /// Waits for `message` and takes it; false if that takes longer than [`DEADLINE`].
    pub fn wait_msi(&self, message: Msi) -> bool {
        self.wait(|state| state.take(message))
    }

    /// Waits without a deadline until `come` is true; [`nudge`](Self::nudge) has it looked at again.
    pub(super) fn wait_until(&self, mut come: impl FnMut(&mut State) -> bool) {
        let _come = self.changed.wait_while(self.state(), |state| !come(state));
    }

    /// Something that a waiter looks at changed.
    pub(super) fn nudge(&self) {
        // Under the lock, so that it cannot fall between a waiter's look and its wait.
        let _state = self.state();
        self.changed.notify_all();
    }

    /// Forgets pending messages, as at power-on.
    pub(super) fn reset(&self) {
        self.state().pending.clear();
    }

    /// Takes `message` if it is pending.
    pub fn take_msi(&self, message: Msi) -> bool {
        self.state().take(message)
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
