//! `Events`: what vmnet tells on a thread of its own, for who waits for it.

use std::{
    io,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::status::Status;

/// How a start ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Started {
    pub(super) status: Status,
    /// Bytes of the longest frame (`vmnet_max_packet_size_key`); 0 if it does not say.
    pub(super) longest: u64,
}

#[derive(Debug, Default)]
struct State {
    started: Option<Started>,
    is_stopped: bool,
    waker: Option<mio::Waker>,
}

/// What one interface has told.
#[derive(Debug, Default)]
pub(super) struct Events {
    state: Mutex<State>,
    changed: Condvar,
}

impl Events {
    /// The start is over.
    pub(super) fn started(&self, started: Started) {
        self.state().started = Some(started);
        self.changed.notify_all();
    }

    /// The stop is over: nothing is told any more.
    pub(super) fn stopped(&self) {
        self.state().is_stopped = true;
        self.changed.notify_all();
    }

    /// Frames are there.
    pub(super) fn frames(&self) {
        if let Some(waker) = &self.state().waker
            && let Err(error) = waker.wake()
        {
            tracing::warn!("the network card's worker cannot be woken: {error}");
        }
    }

    /// Whom to wake from now on, if anybody.
    pub(super) fn wake(&self, waker: Option<mio::Waker>) {
        self.state().waker = waker;
    }

    /// Waits for the end of the start.
    ///
    /// # Errors
    /// It takes longer than `limit`.
    pub(super) fn wait_for_start(&self, limit: Duration) -> io::Result<Started> {
        let state = self.wait(limit, |state| state.started.is_none());
        state.started.ok_or_else(|| io::ErrorKind::TimedOut.into())
    }

    /// Waits for the end of the stop; false if it takes longer than `limit`.
    pub(super) fn wait_for_stop(&self, limit: Duration) -> bool {
        self.wait(limit, |state| !state.is_stopped).is_stopped
    }

    fn wait(&self, limit: Duration, waits: impl Fn(&State) -> bool) -> MutexGuard<'_, State> {
        let waited = self.changed.wait_timeout_while(self.state(), limit, |state| waits(state));
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn ends_are_waited_for_and_not_forgotten() {
        let events = Events::default();
        assert_eq!(events.wait_for_start(Duration::ZERO).unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert!(!events.wait_for_stop(Duration::ZERO));
        let started = Started { status: Status(1000), longest: 1514 };
        thread::scope(|scope| {
            scope.spawn(|| events.started(started));
            assert_eq!(events.wait_for_start(LONG).unwrap(), started);
            scope.spawn(|| events.stopped());
            assert!(events.wait_for_stop(LONG));
        });
        assert!(events.wait_for_stop(Duration::ZERO) && events.wait_for_start(Duration::ZERO).is_ok());
    }

    #[test]
    fn frames_wake_who_is_there() {
        let mut poll = mio::Poll::new().unwrap();
        let mut told = mio::Events::with_capacity(4);
        let events = Events::default();
        events.frames();
        events.wake(Some(mio::Waker::new(poll.registry(), mio::Token(7)).unwrap()));
        poll.poll(&mut told, Some(Duration::ZERO)).unwrap();
        assert!(told.is_empty(), "what came before nobody waited for");
        events.frames();
        poll.poll(&mut told, Some(LONG)).unwrap();
        assert!(told.iter().any(|event| event.token() == mio::Token(7)));
        events.wake(None);
        events.frames();
        poll.poll(&mut told, Some(Duration::ZERO)).unwrap();
        assert!(told.is_empty());
    }
}
