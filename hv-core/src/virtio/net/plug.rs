//! `Plug`: a pair's backend while a worker has it: started and stopped, woken, and given back in the end.

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use mio::{Events, Poll};

use super::shared::{Pair, Shared};
use crate::{io::EventLoop, net::NetBackend};

/// Events of the backend that are heard in one turn.
const TURN_EVENTS: usize = 64;

/// A backend and what it waits for.
pub(super) struct Plug {
    shared: Arc<Shared>,
    number: usize,
    /// There until the end.
    backend: Option<Box<dyn NetBackend>>,
    /// While it is started: all that it waits for, as one source of the event loop. Each start has its own, since a
    /// poll has one waker at most in all its life.
    poll: Option<Poll>,
    events: Events,
}

/// What came of listening to the backend's events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Heard {
    /// The backend was woken.
    pub(super) woken: bool,
    /// There may be more events.
    pub(super) more: bool,
}

impl Plug {
    /// The backend of pair `number`, if it is there; not started yet.
    pub(super) fn new(shared: Arc<Shared>, number: usize) -> Option<Self> {
        let backend = shared.pairs().get(number).and_then(Pair::take)?;
        let events = Events::with_capacity(TURN_EVENTS);
        Some(Self { shared, number, backend: Some(backend), poll: None, events })
    }

    /// The pair's number.
    pub(super) fn number(&self) -> usize {
        self.number
    }

    /// The pair's shared part.
    pub(super) fn pair(&self) -> &Pair {
        // A plug is made for a pair that there is.
        &self.shared.pairs()[self.number]
    }

    /// Has `event_loop`, which is a new one, report `source` when the backend has events.
    pub(super) fn watch(&self, event_loop: &mut EventLoop, source: u8) -> io::Result<()> {
        self.poll.as_ref().map_or(Ok(()), |poll| event_loop.watch(poll, source))
    }

    /// Starts or stops the backend if the driver uses the pair or does not, and has `event_loop` report `source` while it
    /// runs; tells it which offloads the driver wants; says whether anything changed.
    pub(super) fn settle(&mut self, event_loop: &mut EventLoop, source: u8) -> io::Result<bool> {
        let (uses, accepted) = (self.shared.uses(self.number), self.shared.accepted());
        if uses == self.is_running() {
            let is_new = uses && accepted != self.pair().told();
            if let (true, Some(backend)) = (is_new, &mut self.backend) {
                backend.set_accepted(accepted)?;
                self.pair().set_told(accepted);
            }
            return Ok(is_new);
        }
        if let Some(poll) = &self.poll {
            event_loop.forget(poll)?;
            self.stop();
            return Ok(true);
        }
        let poll = Poll::new()?;
        event_loop.watch(&poll, source)?;
        if let Some(backend) = &mut self.backend {
            backend.start(accepted, poll.registry())?;
        }
        self.poll = Some(poll);
        self.pair().set_told(accepted);
        self.pair().set_running(true);
        Ok(true)
    }

    fn stop(&mut self) {
        if let (Some(backend), Some(poll)) = (&mut self.backend, self.poll.take()) {
            backend.stop(poll.registry());
        }
        self.pair().set_running(false);
    }

    /// The backend, if it is started.
    pub(super) fn backend(&mut self) -> Option<&mut dyn NetBackend> {
        match &mut self.backend {
            Some(backend) if self.poll.is_some() => Some(&mut **backend),
            _ => None,
        }
    }

    /// Wakes the backend if it has events, of which there may be some if `is_ready`, or if its time has come.
    pub(super) fn hear(&mut self, is_ready: bool) -> Heard {
        let mut heard = Heard::default();
        let (Some(backend), Some(poll)) = (&mut self.backend, &mut self.poll) else { return heard };
        if is_ready {
            // Nothing but a signal keeps it from looking.
            heard.more = poll.poll(&mut self.events, Some(Duration::ZERO)).is_err();
            heard.more |= self.events.iter().count() >= TURN_EVENTS;
            heard.woken = !self.events.is_empty();
            if heard.woken {
                backend.wake(&self.events);
            }
        }
        if backend.deadline().is_some_and(|deadline| deadline <= Instant::now()) {
            self.events.clear();
            backend.wake(&self.events);
            heard.woken = true;
        }
        heard
    }

    /// Whether the backend says that its other end is there, if that is new.
    pub(super) fn link_changed(&self) -> bool {
        self.backend.as_ref().is_some_and(|backend| self.pair().set_up(backend.is_up()))
    }

    /// Whether the backend is started.
    pub(super) fn is_running(&self) -> bool {
        self.poll.is_some()
    }

    /// How long until the backend is to be woken.
    pub(super) fn patience(&self) -> Option<Duration> {
        let deadline = self.backend.as_ref()?.deadline()?;
        Some(deadline.saturating_duration_since(Instant::now()))
    }
}

impl Drop for Plug {
    fn drop(&mut self) {
        self.stop();
        if let Some(backend) = self.backend.take() {
            self.pair().give_back(backend);
        }
        // The worker of commands may wait for this one.
        if let Some(first) = self.shared.pairs().first() {
            first.ring();
        }
    }
}
