//! `ConsoleTap`: what a guest shows, for all who look at it, without making the guest wait for any of them.

use std::{
    collections::VecDeque,
    fmt,
    io::{self, Read},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// So many bytes that were shown before are kept for who comes later.
pub const HISTORY_LIMIT: usize = 64 << 10;

/// So many bytes wait for a reader; one that is slower loses the oldest.
const TAIL_LIMIT: usize = 256 << 10;

/// Keeps the last of what a guest showed and gives what it shows to all [`Tail`]s. All clones are the same tap.
#[derive(Clone, Default)]
pub struct ConsoleTap(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// A tail has bytes, or will get no more.
    shown: Condvar,
    /// A tail has gone or has read all.
    read: Condvar,
}

#[derive(Default)]
struct State {
    history: VecDeque<u8>,
    tails: Vec<Queue>,
    next: u64,
    closed: bool,
}

/// What waits for a tail.
struct Queue {
    number: u64,
    bytes: VecDeque<u8>,
    closed: bool,
}

impl ConsoleTap {
    /// A tap that nothing was shown on.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes what the guest shows. Never waits for a reader.
    pub fn show(&self, bytes: &[u8]) {
        let mut state = self.0.state();
        keep_last(&mut state.history, bytes, HISTORY_LIMIT);
        if state.tails.is_empty() {
            return;
        }
        for tail in &mut state.tails {
            keep_last(&mut tail.bytes, bytes, TAIL_LIMIT);
        }
        self.0.shown.notify_all();
    }

    /// What was shown last.
    pub fn history(&self) -> Vec<u8> {
        self.0.state().history.iter().copied().collect()
    }

    /// A reader of what was shown last and of all that comes.
    pub fn attach(&self) -> Tail {
        let mut state = self.0.state();
        let number = state.next;
        state.next = number.wrapping_add(1);
        let bytes = state.history.clone();
        let history = bytes.len();
        state.tails.push(Queue { number, bytes, closed: false });
        Tail { shared: Arc::clone(&self.0), number, history }
    }

    /// No more will be shown: tails end when they have read what waits for them. Waits for that, at most `patience`.
    pub fn finish(&self, patience: Duration) {
        let mut state = self.0.state();
        state.closed = true;
        self.0.shown.notify_all();
        let unread = |state: &mut State| !state.tails.is_empty();
        drop(self.0.read.wait_timeout_while(state, patience, unread));
    }
}

/// Appends `bytes` and drops the oldest beyond `limit`.
fn keep_last(queue: &mut VecDeque<u8>, bytes: &[u8], limit: usize) {
    let bytes = bytes.get(bytes.len().saturating_sub(limit)..).unwrap_or_default();
    let excess = (queue.len() + bytes.len()).saturating_sub(limit);
    queue.drain(..excess);
    queue.extend(bytes);
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remove(&self, number: u64) {
        self.state().tails.retain(|tail| tail.number != number);
        self.read.notify_all();
    }
}

/// Reads what a guest shows; ends when the guest has, or when it is closed from this side.
pub struct Tail {
    shared: Arc<Shared>,
    number: u64,
    history: usize,
}

impl Tail {
    /// So many of the bytes that will be read were shown before.
    pub fn history(&self) -> usize {
        self.history
    }

    /// Ends the tail from another thread.
    pub(crate) fn closer(&self) -> Closer {
        Closer { shared: Arc::clone(&self.shared), number: self.number }
    }
}

impl Read for Tail {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut state = self.shared.state();
        loop {
            let all_shown = state.closed;
            let Some(tail) = state.tails.iter_mut().find(|tail| tail.number == self.number) else {
                return Ok(0);
            };
            if tail.closed || (all_shown && tail.bytes.is_empty()) {
                drop(state);
                self.shared.remove(self.number);
                return Ok(0);
            }
            if !tail.bytes.is_empty() {
                return tail.bytes.read(buffer);
            }
            state = self.shared.shown.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        self.shared.remove(self.number);
    }
}

/// Ends a [`Tail`].
pub(crate) struct Closer {
    shared: Arc<Shared>,
    number: u64,
}

impl Closer {
    pub(crate) fn close(&self) {
        let mut state = self.shared.state();
        if let Some(tail) = state.tails.iter_mut().find(|tail| tail.number == self.number) {
            tail.closed = true;
        }
        self.shared.shown.notify_all();
    }
}

impl fmt::Debug for ConsoleTap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ConsoleTap({} bytes)", self.0.state().history.len())
    }
}

impl fmt::Debug for Tail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tail({})", self.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rest(mut tail: Tail) -> Vec<u8> {
        let mut bytes = Vec::new();
        tail.read_to_end(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn each_tail_reads_the_history_and_what_comes() {
        let tap = ConsoleTap::new();
        tap.show(b"one ");
        let first = tap.attach();
        tap.show(b"two ");
        let second = tap.attach();
        tap.show(b"three");
        tap.finish(Duration::ZERO);
        assert_eq!((first.history(), second.history()), (4, 8));
        assert_eq!(rest(first), b"one two three");
        assert_eq!(rest(second), b"one two three");
    }

    #[test]
    fn history_is_the_last_of_it() {
        let tap = ConsoleTap::new();
        tap.show(&[b'a'; HISTORY_LIMIT + 7]);
        tap.show(b"end");
        let history = tap.history();
        assert_eq!(history.len(), HISTORY_LIMIT);
        assert!(history.ends_with(b"aaend"));
    }

    #[test]
    fn who_does_not_read_loses_the_oldest_and_delays_nobody() {
        let tap = ConsoleTap::new();
        let slow = tap.attach();
        for _ in 0..100 {
            tap.show(&[b'x'; 16 << 10]);
        }
        tap.show(b"end");
        tap.finish(Duration::ZERO);
        let read = rest(slow);
        assert_eq!(read.len(), TAIL_LIMIT);
        assert!(read.ends_with(b"xend"));
    }

    #[test]
    fn a_tail_ends_when_it_is_closed_from_elsewhere() {
        let tap = ConsoleTap::new();
        let tail = tap.attach();
        let closer = tail.closer();
        let reader = std::thread::spawn(move || rest(tail));
        closer.close();
        assert_eq!(reader.join().unwrap(), b"");
        tap.finish(Duration::MAX);
    }

    #[test]
    fn the_end_waits_for_readers_that_read() {
        let tap = ConsoleTap::new();
        let tail = tap.attach();
        tap.show(b"last words");
        let reader = std::thread::spawn(move || rest(tail));
        tap.finish(Duration::MAX);
        assert_eq!(reader.join().unwrap(), b"last words");
    }
}
