//! `Output`: a sink that a thread of its own writes to a terminal, a file or a pipe.

use std::{
    fmt,
    io::{self, Write},
    mem,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use super::{CharSink, Full, Wake};

/// Bytes that wait for a slow reader before the guest has to.
const LIMIT: usize = 64 << 10;

/// So many bytes without an end of line are worth a write of their own.
const WORTHWHILE: usize = 1024;

/// How long the rest of a line may take until its start is written: a UART brings one byte at a time.
const GATHER: Duration = Duration::from_millis(4);

/// How often a reader that cannot block us is asked whether it has room.
const RETRY: Duration = Duration::from_millis(5);

/// A sink in front of anything that can be written. Bytes are written in order and none is lost, until the reader
/// goes away or the output is [closed](Self::close). All clones are the same output.
#[derive(Clone)]
pub struct Output(Arc<Handle>);

/// What all clones share; when it is dropped, the thread writes what is left and ends.
struct Handle(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    /// There is something to do for the thread.
    work: Condvar,
    /// All is written.
    idle: Condvar,
}

#[derive(Default)]
struct State {
    waiting: Vec<u8>,
    wake: Option<Wake>,
    /// A writer found no room and hopes to be woken.
    refused: bool,
    /// The thread has bytes that it did not write yet.
    busy: bool,
    /// What comes is dropped.
    closed: bool,
    /// No more will come.
    ended: bool,
    /// What waits should be written at once.
    hurry: bool,
}

impl Output {
    /// Starts the thread that writes to `to`.
    ///
    /// # Errors
    /// The host cannot start a thread.
    pub fn start(to: impl Write + Send + 'static) -> io::Result<Self> {
        let shared = Arc::new(Shared { state: Mutex::default(), work: Condvar::new(), idle: Condvar::new() });
        let writer = Arc::clone(&shared);
        thread::Builder::new().name("console output".into()).stack_size(128 << 10).spawn(move || {
            let mut to = to;
            writer.run(&mut to);
        })?;
        Ok(Self(Arc::new(Handle(shared))))
    }

    /// Waits until all is written, at most for `patience`; says whether it is.
    pub fn finish(&self, patience: Duration) -> bool {
        let mut state = self.shared().state();
        state.hurry = true;
        self.shared().work.notify_one();
        let unfinished = |state: &mut State| !state.closed && (state.busy || !state.waiting.is_empty());
        let waited = self.shared().idle.wait_timeout_while(state, patience, unfinished);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    /// Drops what waits and all that comes, and wakes who waits for room: the reader will not read any more.
    pub fn close(&self) {
        self.shared().close();
    }

    fn shared(&self) -> &Shared {
        &self.0.0
    }
}

impl CharSink for Output {
    /// Room is counted before the write: a write that finds room is taken whole, however long.
    fn write(&mut self, bytes: &[u8]) -> Result<(), Full> {
        let mut state = self.shared().state();
        if state.closed || bytes.is_empty() {
            return Ok(());
        }
        if state.waiting.len() >= LIMIT {
            state.refused = true;
            return Err(Full);
        }
        let was_empty = state.waiting.is_empty();
        state.waiting.extend_from_slice(bytes);
        if !state.hurry && (state.waiting.len() >= WORTHWHILE || memchr::memchr(b'\n', bytes).is_some()) {
            state.hurry = true;
            self.shared().work.notify_one();
        } else if was_empty {
            self.shared().work.notify_one();
        }
        Ok(())
    }

    fn on_room(&mut self, wake: Wake) {
        self.shared().state().wake = Some(wake);
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        state.waiting = Vec::new();
        self.idle.notify_all();
        let wake = state.wake.clone();
        drop(state);
        if let Some(wake) = wake {
            wake();
        }
    }

    /// The thread: takes all that waits, writes it, again.
    fn run(&self, to: &mut dyn Write) {
        let mut bytes = Vec::new();
        while self.take(&mut bytes) {
            if let Err(error) = self.write_all(to, &bytes) {
                tracing::warn!("console output cannot be written: {error}; the rest is dropped");
                self.close();
            }
            bytes.clear();
        }
    }

    /// Moves what waits into `bytes`; false if there will be no more.
    fn take(&self, bytes: &mut Vec<u8>) -> bool {
        let mut state = self.state();
        state.busy = false;
        if state.waiting.is_empty() {
            self.idle.notify_all();
        }
        let nothing = |state: &mut State| state.waiting.is_empty() && !state.ended;
        state = self.work.wait_while(state, nothing).unwrap_or_else(PoisonError::into_inner);
        let gathering = |state: &mut State| !state.hurry && !state.ended && !state.closed;
        let gathered = self.work.wait_timeout_while(state, GATHER, gathering);
        state = gathered.unwrap_or_else(PoisonError::into_inner).0;
        mem::swap(&mut state.waiting, bytes);
        state.hurry = false;
        state.busy = !bytes.is_empty();
        let go_on = state.busy || !state.ended;
        let wake = mem::take(&mut state.refused).then(|| state.wake.clone()).flatten();
        drop(state);
        if let Some(wake) = wake {
            wake();
        }
        go_on
    }

    fn write_all(&self, to: &mut dyn Write, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() && !self.state().closed {
            match to.write(bytes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Someone else made the terminal non-blocking.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::sleep(RETRY),
                Err(error) => return Err(error),
            }
        }
        to.flush()
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.state().ended = true;
        self.0.work.notify_all();
    }
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Output({} bytes wait)", self.shared().state().waiting.len())
    }
}

#[cfg(test)]
mod tests;
