//! `SoftNetwork`: the other end of a network card's cable, which does what a test says and remembers what it got.

use std::{
    collections::VecDeque,
    fmt, io,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use mio::{Events, Registry, Token, Waker};

use super::DEADLINE;
use crate::{
    memory::GuestBuffer,
    net::{FrameHeader, MAX_FRAME, MAX_PLAIN_FRAME, NetBackend, Offloads, Received},
};

/// A frame with what it says beside its bytes.
pub type Frame = (FrameHeader, Vec<u8>);

/// A network under a test's hand. All clones are the same.
#[derive(Clone)]
pub struct SoftNetwork(Arc<(Mutex<Script>, Condvar)>);

/// What the network does, and what it saw.
#[derive(Debug)]
pub struct Script {
    /// Work that it takes, and that it gives.
    pub takes: Offloads,
    /// See [`takes`](Self::takes).
    pub gives: Offloads,
    /// The other end is there.
    pub is_up: bool,
    /// Frames for which it has room.
    pub room: usize,
    /// Frames of the guest, in order.
    pub sent: Vec<Frame>,
    /// Frames for the guest, in order.
    pub incoming: VecDeque<Frame>,
    /// It cannot tell how long the next frame is.
    pub is_vague: bool,
    /// The next calls of `start`, `set_accepted`, `send` and `receive` fail so often.
    pub failures: usize,
    /// What the driver accepted, since it is there.
    pub accepted: Option<Offloads>,
    /// How often it was started, and stopped.
    pub starts: usize,
    /// See [`starts`](Self::starts).
    pub stops: usize,
    /// How often it was woken, and by its time.
    pub wakes: usize,
    /// See [`wakes`](Self::wakes).
    pub alarms: usize,
    /// When it wants to be woken, which then is over.
    pub deadline: Option<Instant>,
    /// How often `send` was called.
    pub offers: usize,
    /// How often it was flushed.
    pub flushes: usize,
    waker: Option<Waker>,
}

impl SoftNetwork {
    /// A network that takes and gives this work.
    pub fn new(takes: Offloads, gives: Offloads) -> Self {
        let script = Script {
            takes,
            gives,
            is_up: true,
            room: usize::MAX,
            sent: Vec::new(),
            incoming: VecDeque::new(),
            is_vague: false,
            failures: 0,
            accepted: None,
            starts: 0,
            stops: 0,
            wakes: 0,
            alarms: 0,
            deadline: None,
            offers: 0,
            flushes: 0,
            waker: None,
        };
        Self(Arc::new((Mutex::new(script), Condvar::new())))
    }

    /// The end that the card gets.
    pub fn backend(&self) -> Box<dyn NetBackend> {
        Box::new(self.clone())
    }

    /// What it does and saw; the card waits meanwhile.
    pub fn script(&self) -> MutexGuard<'_, Script> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the card's worker look, if there is one.
    ///
    /// # Panics
    /// It cannot be woken.
    pub fn ring(&self) {
        if let Some(waker) = &self.script().waker {
            waker.wake().expect("a worker wakes");
        }
    }

    /// Changes what it does, and has the card's worker look.
    pub fn change(&self, change: impl FnOnce(&mut Script)) {
        change(&mut self.script());
        self.ring();
    }

    /// A frame for the guest.
    pub fn offer(&self, header: FrameHeader, frame: &[u8]) {
        self.change(|script| script.incoming.push_back((header, frame.to_vec())));
    }

    /// Waits until what it saw is as `is_so` says.
    ///
    /// # Panics
    /// It does not become so.
    pub fn wait(&self, mut is_so: impl FnMut(&Script) -> bool) {
        let (mutex, changed) = &*self.0;
        let script = mutex.lock().unwrap_or_else(PoisonError::into_inner);
        let (script, late) = changed
            .wait_timeout_while(script, DEADLINE, |script| !is_so(script))
            .unwrap_or_else(PoisonError::into_inner);
        assert!(!late.timed_out(), "it does not come: {script:?}");
    }

    /// Takes what the guest sent, once that is so many frames.
    ///
    /// # Panics
    /// They do not come.
    pub fn wait_sent(&self, count: usize) -> Vec<Frame> {
        self.wait(|script| script.sent.len() >= count);
        std::mem::take(&mut self.script().sent)
    }

    fn see<T>(&self, see: impl FnOnce(&mut Script) -> T) -> T {
        let result = see(&mut self.script());
        self.0.1.notify_all();
        result
    }
}

impl Script {
    fn fail(&mut self) -> io::Result<()> {
        if self.failures == 0 {
            return Ok(());
        }
        self.failures -= 1;
        Err(io::Error::other("the test breaks it"))
    }
}

impl NetBackend for SoftNetwork {
    fn takes(&self) -> Offloads {
        self.script().takes
    }

    fn gives(&self) -> Offloads {
        self.script().gives
    }

    /// # Panics
    /// It is started already, or asked for work that it does not give.
    fn start(&mut self, accepted: Offloads, registry: &Registry) -> io::Result<()> {
        self.see(|script| {
            script.fail()?;
            assert_eq!(script.accepted, None, "started twice");
            assert!(script.gives.contains(accepted), "{accepted:?} is not given");
            script.accepted = Some(accepted);
            script.starts += 1;
            script.waker = Some(Waker::new(registry, Token(7))?);
            Ok(())
        })
    }

    /// # Panics
    /// It is not started, or asked for work that it does not give.
    fn set_accepted(&mut self, accepted: Offloads) -> io::Result<()> {
        self.see(|script| {
            script.fail()?;
            assert!(script.gives.contains(accepted), "{accepted:?} is not given");
            assert!(script.accepted.replace(accepted).is_some(), "not started");
            Ok(())
        })
    }

    /// # Panics
    /// It is not started.
    fn stop(&mut self, _: &Registry) {
        self.see(|script| {
            assert!(script.accepted.take().is_some(), "stopped twice");
            script.stops += 1;
            script.waker = None;
        });
    }

    fn wake(&mut self, events: &Events) {
        self.see(|script| {
            if events.is_empty() {
                script.alarms += 1;
                script.deadline = None;
            } else {
                script.wakes += 1;
            }
        });
    }

    /// # Panics
    /// It is not started.
    fn send(&mut self, header: FrameHeader, frame: GuestBuffer<'_>) -> io::Result<bool> {
        self.see(|script| {
            assert!(script.accepted.is_some(), "sent to nobody");
            script.offers += 1;
            script.fail()?;
            if script.room == 0 {
                return Ok(false);
            }
            script.room -= 1;
            let mut bytes = vec![0; usize::try_from(frame.len()).unwrap_or(usize::MAX)];
            frame.copy_to(&mut bytes)?;
            script.sent.push((header, bytes));
            Ok(true)
        })
    }

    fn flush(&mut self) {
        self.see(|script| script.flushes += 1);
    }

    fn next_len(&mut self) -> Option<usize> {
        let script = self.script();
        let (_, frame) = script.incoming.front()?;
        let gives_long = script.accepted.unwrap_or_default().intersects(Offloads::TSO4 | Offloads::TSO6);
        let longest = if gives_long { MAX_FRAME } else { MAX_PLAIN_FRAME };
        Some(if script.is_vague { longest } else { frame.len() })
    }

    /// # Panics
    /// The buffer has no room for the frame.
    fn receive(&mut self, buffer: GuestBuffer<'_>) -> io::Result<Option<Received>> {
        self.see(|script| {
            script.fail()?;
            let Some((header, frame)) = script.incoming.pop_front() else { return Ok(None) };
            assert_eq!(buffer.copy_from(&frame)?, frame.len(), "a buffer of {} bytes", buffer.len());
            Ok(Some(Received { header, len: frame.len() }))
        })
    }

    fn deadline(&self) -> Option<Instant> {
        self.script().deadline
    }

    fn is_up(&self) -> bool {
        self.script().is_up
    }
}

impl fmt::Debug for SoftNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SoftNetwork({:?})", self.script())
    }
}
