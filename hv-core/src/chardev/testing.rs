//! `Tight`: a sink that has room only when a test makes some.

use std::sync::{Arc, Mutex, MutexGuard};

use super::{CharSink, Full, Wake};

/// A sink that has room for one write each time it is given some.
#[derive(Clone, Default)]
pub(crate) struct Tight(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    kept: Vec<u8>,
    room: bool,
    refusals: usize,
    wake: Option<Wake>,
}

impl Tight {
    /// All that was written.
    pub(crate) fn kept(&self) -> Vec<u8> {
        self.state().kept.clone()
    }

    /// How often a write found no room.
    pub(crate) fn refusals(&self) -> usize {
        self.state().refusals
    }

    /// Makes room for one write.
    pub(crate) fn make_room(&self) {
        let mut state = self.state();
        state.room = true;
        let wake = state.wake.clone().unwrap();
        drop(state);
        wake();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }
}

impl CharSink for Tight {
    fn write(&mut self, bytes: &[u8]) -> Result<(), Full> {
        let mut state = self.state();
        if !std::mem::take(&mut state.room) {
            state.refusals += 1;
            return Err(Full);
        }
        state.kept.extend_from_slice(bytes);
        Ok(())
    }

    fn on_room(&mut self, wake: Wake) {
        self.state().wake = Some(wake);
    }
}
