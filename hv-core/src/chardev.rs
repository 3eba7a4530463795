//! Byte sinks and sources behind UARTs and consoles: what a device and the host's end agree on.

mod input;
mod merge;
mod output;
#[cfg(test)]
pub(crate) mod testing;

pub use input::Input;
pub use merge::{ConsoleMerge, MergePort, Port};
pub use output::Output;

use std::{
    fmt, io,
    sync::{Arc, Mutex, PoisonError},
};

/// Where a device's output goes. Never blocks.
pub trait CharSink: Send {
    /// Takes all of `bytes`, in order, or none of them.
    ///
    /// # Errors
    /// Full: try again when [`on_room`](Self::on_room) wakes.
    fn write(&mut self, bytes: &[u8]) -> Result<(), Full>;

    /// From now on calls `wake` whenever there is room again after a write found none, from any thread.
    fn on_room(&mut self, wake: Wake);
}

/// Tells the other end of a character device that it can go on.
pub type Wake = Arc<dyn Fn() + Send + Sync>;

/// The sink has no room at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the sink is full")]
pub struct Full;

/// A terminal's size in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TerminalSize {
    /// Characters in a line.
    pub columns: u16,
    /// Lines.
    pub rows: u16,
}

/// A sink for writers that have nothing better to do than to wait, as a UART's vCPU: back-pressure on the guest.
///
/// A wait ends when the reader reads, or when the sink's end is [closed](Output::close).
pub struct WaitingSink<S> {
    sink: S,
}

impl<S: CharSink> WaitingSink<S> {
    /// Waits for `sink`. Every write is made by the thread that waits for it.
    pub fn new(sink: S) -> Self {
        Self { sink }
    }
}

impl<S: CharSink> io::Write for WaitingSink<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.sink.write(bytes).is_err() {
            let writer = std::thread::current();
            self.sink.on_room(Arc::new(move || writer.unpark()));
            // Room that came before the wish was heard is found here; later room unparks.
            while self.sink.write(bytes).is_err() {
                std::thread::park();
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<S> fmt::Debug for WaitingSink<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WaitingSink")
    }
}

/// Keeps everything, for tests and for consoles that are looked at later. Without bound.
impl CharSink for Arc<Mutex<Vec<u8>>> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), Full> {
        self.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(())
    }

    fn on_room(&mut self, _: Wake) {}
}
