//! `Input`: bytes on their way from a terminal to a guest, bounded, with back-pressure.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::Wake;

/// Bytes that wait for the guest before the host's end has to.
const CAPACITY: usize = 16 << 10;

/// Both ends of a device's input: the host's [`offer`](Self::offer) and [`feed`](Self::feed), the device's
/// [`read`](Self::read). Nothing is dropped while it is open: what has no room stays with the host.
#[derive(Clone, Default)]
pub struct Input(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    room: Condvar,
}

#[derive(Default)]
struct State {
    bytes: VecDeque<u8>,
    wake: Option<Wake>,
    closed: bool,
}

impl Input {
    /// An empty input.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes what there is room for of `bytes` and says how many. Never blocks.
    pub fn offer(&self, bytes: &[u8]) -> usize {
        let mut state = self.state();
        if state.closed {
            return 0;
        }
        let taken = bytes.len().min(CAPACITY - state.bytes.len());
        state.bytes.extend(&bytes[..taken]);
        let wake = state.wake.clone().filter(|_| taken > 0);
        drop(state);
        if let Some(wake) = wake {
            wake();
        }
        taken
    }

    /// Gives all of `bytes`, waiting for the guest to take them; false if the input was closed before that.
    pub fn feed(&self, mut bytes: &[u8]) -> bool {
        loop {
            bytes = &bytes[self.offer(bytes)..];
            if bytes.is_empty() {
                return true;
            }
            let full = |state: &mut State| state.bytes.len() == CAPACITY && !state.closed;
            let waited = self.0.room.wait_while(self.state(), full);
            if waited.unwrap_or_else(PoisonError::into_inner).closed {
                return false;
            }
        }
    }

    /// Waits until there is room for a byte, or `timeout` is over; says whether there is.
    pub fn wait_for_room(&self, timeout: Duration) -> bool {
        let full = |state: &mut State| !state.closed && state.bytes.len() >= CAPACITY;
        let waited = self.0.room.wait_timeout_while(self.state(), timeout, full);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    /// The host has no more for the guest: drops what waits, and ends a [`feed`](Self::feed) that does.
    pub fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        state.bytes.clear();
        self.0.room.notify_all();
    }

    /// Moves waiting bytes into `data` and says how many.
    pub fn read(&self, data: &mut [u8]) -> usize {
        let mut state = self.state();
        let count = data.len().min(state.bytes.len());
        for (to, from) in data.iter_mut().zip(state.bytes.drain(..count)) {
            *to = from;
        }
        if count > 0 {
            self.0.room.notify_all();
        }
        count
    }

    /// Whether no byte waits.
    pub fn is_empty(&self) -> bool {
        self.state().bytes.is_empty()
    }

    /// Drops what waits, as a reset of the guest does.
    pub fn clear(&self) {
        self.state().bytes.clear();
        self.0.room.notify_all();
    }

    /// From now on calls `wake` after each arrival, from the host's thread.
    pub fn on_input(&self, wake: Wake) {
        self.state().wake = Some(wake);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Input({} bytes wait)", self.state().bytes.len())
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn every_byte_arrives_in_order_however_slow_the_guest() {
        let input = Input::new();
        let (sender, arrivals) = std::sync::mpsc::channel();
        input.on_input(Arc::new(move || {
            let _ = sender.send(());
        }));
        let sent: Vec<u8> = (0..5 * CAPACITY).map(|at| at.to_le_bytes()[at % 3]).collect();
        let (host, expected) = (input.clone(), sent.clone());
        let host = thread::spawn(move || host.feed(&sent));
        let (mut got, mut piece) = (Vec::new(), [0; 1000]);
        while got.len() < expected.len() {
            match input.read(&mut piece) {
                0 => arrivals.recv().unwrap(),
                count => got.extend_from_slice(&piece[..count]),
            }
        }
        assert!(host.join().unwrap());
        assert!(got == expected);
    }

    #[test]
    fn a_full_input_takes_no_more_and_closing_frees_the_host() {
        let input = Input::new();
        assert_eq!(input.offer(&vec![1; CAPACITY + 5]), CAPACITY);
        assert_eq!(input.offer(b"x"), 0);
        let host = input.clone();
        let host = thread::spawn(move || host.feed(b"x"));
        input.close();
        assert!(!host.join().unwrap());
        assert!(input.is_empty());
    }
}
