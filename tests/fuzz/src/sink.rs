//! Where targets have devices write to.

use std::{
    io,
    sync::{Arc, Mutex},
};

use hv_core::devices::PowerEvents;

/// Keeps what is written.
pub(crate) struct Written(pub(crate) Arc<Mutex<Vec<u8>>>);

impl io::Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Counts what a guest asked for.
#[derive(Default)]
pub(crate) struct PowerCounter(Mutex<(u32, u32)>);

impl PowerCounter {
    /// Power-offs and resets so far.
    pub(crate) fn counts(&self) -> (u32, u32) {
        *self.0.lock().unwrap()
    }
}

impl PowerEvents for PowerCounter {
    fn power_off(&self) {
        self.0.lock().unwrap().0 += 1;
    }

    fn reset(&self) {
        self.0.lock().unwrap().1 += 1;
    }
}
