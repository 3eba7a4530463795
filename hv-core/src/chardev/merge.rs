//! `ConsoleMerge`: a UART and a virtio console on one screen, no kernel message shown twice.
//!
//! When nobody knows which drivers a kernel has, it boots with both consoles. Linux prints each log record to every
//! console, and the whole log again to one that is found later. What else comes, comes once.

mod lines;

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use self::lines::Lines;
use super::{CharSink, Full, Wake};

/// One of the two that share a screen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Port {
    /// The UART.
    Uart = 0,
    /// The virtio console.
    Virtio = 1,
}

/// The screen that both share. All clones are the same.
#[derive(Clone)]
pub struct ConsoleMerge {
    screen: Arc<Mutex<Screen>>,
    wakes: Arc<Mutex<[Option<Wake>; 2]>>,
}

/// One port's way to the screen.
pub struct MergePort {
    merge: ConsoleMerge,
    port: Port,
}

struct Screen {
    lines: Lines,
    sink: Box<dyn CharSink>,
    /// Taken from a port, but not by the sink yet.
    pending: Vec<u8>,
}

impl ConsoleMerge {
    /// Both ports write to `sink`.
    pub fn new(sink: impl CharSink + 'static) -> Self {
        let screen = Screen { lines: Lines::default(), sink: Box::new(sink), pending: Vec::new() };
        let merge = Self { screen: Arc::new(Mutex::new(screen)), wakes: Arc::default() };
        let (screen, wakes) = (Arc::downgrade(&merge.screen), Arc::clone(&merge.wakes));
        merge.screen().sink.on_room(Arc::new(move || {
            let Some(screen) = screen.upgrade() else { return };
            // First what was taken before; if that fills the sink again, it wakes us again.
            if lock(&screen).write_pending().is_ok() {
                let wakes = lock(&wakes).clone();
                wakes.iter().flatten().for_each(|wake| wake());
            }
        }));
        merge
    }

    /// The sink of `port`.
    pub fn port(&self, port: Port) -> MergePort {
        MergePort { merge: self.clone(), port }
    }

    /// The port that last wrote something other than kernel messages: where the shell is, and where input should go.
    pub fn active_port(&self) -> Option<Port> {
        self.screen().lines.active()
    }

    /// Shows what is held back: an unfinished kernel message of a guest that ended, for instance.
    ///
    /// # Errors
    /// The sink is full; what was held back is kept.
    pub fn flush(&self) -> Result<(), Full> {
        let mut screen = self.screen();
        let Screen { lines, pending, .. } = &mut *screen;
        lines.flush(pending);
        screen.write_pending()
    }

    /// The guest was reset: its log begins anew.
    pub fn reset(&self) {
        let mut screen = self.screen();
        let Screen { lines, pending, .. } = &mut *screen;
        lines.reset(pending);
        // A full sink gets it with what comes next.
        let _ = screen.write_pending();
    }

    fn screen(&self) -> MutexGuard<'_, Screen> {
        lock(&self.screen)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl CharSink for MergePort {
    fn write(&mut self, bytes: &[u8]) -> Result<(), Full> {
        let mut screen = self.merge.screen();
        screen.write_pending()?;
        let Screen { lines, pending, .. } = &mut *screen;
        lines.write(self.port, bytes, Instant::now(), pending);
        // Taken from the port now; a full sink gets it before anything else.
        let _ = screen.write_pending();
        Ok(())
    }

    fn on_room(&mut self, wake: Wake) {
        lock(&self.merge.wakes)[self.port as usize] = Some(wake);
    }
}

impl Screen {
    fn write_pending(&mut self) -> Result<(), Full> {
        if !self.pending.is_empty() {
            self.sink.write(&self.pending)?;
            self.pending.clear();
        }
        Ok(())
    }
}

impl fmt::Debug for ConsoleMerge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ConsoleMerge(active: {:?})", self.active_port())
    }
}

impl fmt::Debug for MergePort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MergePort({:?})", self.port)
    }
}

#[cfg(test)]
mod tests;
