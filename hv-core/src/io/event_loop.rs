//! `EventLoop`: one thread's wait for bells and descriptors, told as a set of source numbers.

use std::{
    fmt, io,
    os::fd::{AsRawFd, RawFd},
    sync::Arc,
    time::Duration,
};

use mio::{Events, Interest, Poll, Token, unix::SourceFd};

use super::bell::{Bell, Tower};

const WAKER: Token = Token(64);

/// Waits for up to 64 numbered sources. Portable: epoll and kqueue through mio, edge-triggered.
pub struct EventLoop {
    poll: Poll,
    events: Events,
    tower: Arc<Tower>,
}

/// The sources that became ready: bit n for source n.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ready(u64);

impl EventLoop {
    /// A loop without sources.
    ///
    /// # Errors
    /// The host is out of descriptors.
    pub fn new() -> io::Result<Self> {
        let poll = Poll::new()?;
        let tower = Tower::new(mio::Waker::new(poll.registry(), WAKER)?);
        Ok(Self { poll, events: Events::with_capacity(16), tower })
    }

    /// A bell that rings `source` (0..64).
    pub fn bell(&self, source: u8) -> Bell {
        Bell::new(Arc::clone(&self.tower), source)
    }

    /// Reports `source` whenever `fd` becomes readable. Edge-triggered: read until it would block.
    /// The caller keeps `fd` open until it is dropped from the loop or the loop is.
    ///
    /// # Errors
    /// The descriptor cannot be waited for.
    pub fn watch(&mut self, fd: &impl AsRawFd, source: u8) -> io::Result<()> {
        self.register(fd.as_raw_fd(), source, Interest::READABLE)
    }

    /// As [`watch`](Self::watch), for when `fd` can be written again.
    ///
    /// # Errors
    /// The descriptor cannot be waited for.
    pub fn watch_writable(&mut self, fd: &impl AsRawFd, source: u8) -> io::Result<()> {
        self.register(fd.as_raw_fd(), source, Interest::WRITABLE)
    }

    fn register(&mut self, fd: RawFd, source: u8, interest: Interest) -> io::Result<()> {
        self.poll.registry().register(&mut SourceFd(&fd), Token(usize::from(source & 63)), interest)
    }

    /// Stops watching `fd`.
    ///
    /// # Errors
    /// It was not watched.
    pub fn forget(&mut self, fd: &impl AsRawFd) -> io::Result<()> {
        self.poll.registry().deregister(&mut SourceFd(&fd.as_raw_fd()))
    }

    /// Waits until a source is ready or `timeout` is over, and says which are.
    ///
    /// # Errors
    /// The host cannot wait.
    pub fn turn(&mut self, timeout: Option<Duration>) -> io::Result<Ready> {
        let timeout = if self.tower.doze() { timeout } else { Some(Duration::ZERO) };
        let waited = self.poll.poll(&mut self.events, timeout);
        self.tower.rise();
        match waited {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        let descriptors = self.events.iter().map(|event| event.token()).filter(|token| *token != WAKER);
        Ok(Ready(descriptors.fold(self.tower.take(), |ready, token| ready | 1 << token.0)))
    }
}

impl Ready {
    /// No source.
    pub const NONE: Self = Self(0);

    /// These sources, bit n for source n.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The sources, bit n for source n.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// Whether `source` is ready.
    pub const fn contains(self, source: u8) -> bool {
        source < 64 && self.0 >> source & 1 == 1
    }

    /// Whether no source is.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl fmt::Debug for EventLoop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EventLoop")
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::Write,
        os::unix::net::UnixStream,
        sync::atomic::{AtomicUsize, Ordering::SeqCst},
        thread,
        time::Instant,
    };

    use super::*;
    use crate::testing::DEADLINE;

    #[test]
    fn a_bell_rung_before_the_turn_is_reported_once() {
        let mut event_loop = EventLoop::new().unwrap();
        let (three, five) = (event_loop.bell(3), event_loop.bell(5));
        three.ring();
        three.ring();
        five.ring();
        let ready = event_loop.turn(None).unwrap();
        assert_eq!(ready, Ready::from_bits(1 << 3 | 1 << 5));
        assert!(event_loop.turn(Some(Duration::ZERO)).unwrap().is_empty());
    }

    #[test]
    fn no_ring_is_lost_between_threads() {
        let mut event_loop = EventLoop::new().unwrap();
        let mut answer = EventLoop::new().unwrap();
        let (bell, back) = (event_loop.bell(0), answer.bell(1));
        let ringer = thread::spawn(move || {
            for _ in 0..20_000 {
                bell.ring();
                while !answer.turn(None).unwrap().contains(1) {}
            }
        });
        for _ in 0..20_000 {
            while !event_loop.turn(None).unwrap().contains(0) {}
            back.ring();
        }
        ringer.join().unwrap();
    }

    #[test]
    fn every_bell_of_many_threads_is_heard() {
        const THREADS: usize = 4;
        const RINGS: usize = 5000;
        let mut event_loop = EventLoop::new().unwrap();
        let heard: [AtomicUsize; THREADS] = Default::default();
        thread::scope(|scope| {
            for (source, heard) in (0..).zip(&heard) {
                let bell = event_loop.bell(source);
                scope.spawn(move || {
                    for count in 0..RINGS {
                        bell.ring();
                        while heard.load(SeqCst) == count {
                            thread::yield_now();
                        }
                    }
                });
            }
            while heard.iter().any(|count| count.load(SeqCst) < RINGS) {
                let start = Instant::now();
                let ready = event_loop.turn(Some(DEADLINE)).unwrap();
                assert!(start.elapsed() < DEADLINE, "a ring is lost");
                for (_, count) in (0..).zip(&heard).filter(|(source, _)| ready.contains(*source)) {
                    count.fetch_add(1, SeqCst);
                }
            }
        });
    }

    #[test]
    fn a_descriptor_is_reported_at_each_edge() {
        let (mut near, far) = UnixStream::pair().unwrap();
        let mut event_loop = EventLoop::new().unwrap();
        event_loop.watch(&far, 40).unwrap();
        for _ in 0..2 {
            near.write_all(b"x").unwrap();
            assert!(event_loop.turn(None).unwrap().contains(40));
        }
        event_loop.forget(&far).unwrap();
        near.write_all(b"x").unwrap();
        assert!(event_loop.turn(Some(Duration::ZERO)).unwrap().is_empty());
    }
}
