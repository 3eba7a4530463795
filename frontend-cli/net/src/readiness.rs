//! `Readiness`: a descriptor that wakes the card's worker, for writing only while somebody waits for room.

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd},
};

use mio::{Interest, Registry, Token, unix::SourceFd};

/// Tokens of what this crate registers for itself, far from those that count up from 0.
pub(crate) mod tokens {
    use mio::Token;

    #[cfg(target_os = "linux")]
    pub(crate) const TAP: Token = Token(usize::MAX - 100);
    pub(crate) const SOCKET: Token = Token(usize::MAX - 101);
    pub(crate) const SEGMENT: Token = Token(usize::MAX - 102);
    #[cfg(any(target_os = "macos", test))]
    pub(crate) const VMNET: Token = Token(usize::MAX - 103);
}

/// How one descriptor is registered. Being told of room at each frame that the other side takes would wake the
/// worker for nothing, so it is asked for only when there was none.
#[derive(Debug)]
pub(crate) struct Readiness {
    token: Token,
    registry: Option<Registry>,
    waits_for_room: bool,
}

impl Readiness {
    pub(crate) fn new(token: Token) -> Self {
        Self { token, registry: None, waits_for_room: false }
    }

    /// Whether there is a worker to wake.
    pub(crate) fn is_started(&self) -> bool {
        self.registry.is_some()
    }

    /// There is a worker now.
    pub(crate) fn start(&mut self, registry: &Registry) -> io::Result<()> {
        self.registry = Some(registry.try_clone()?);
        Ok(())
    }

    /// The worker is gone.
    pub(crate) fn stop(&mut self) {
        self.registry = None;
    }

    /// Has `fd` wake the worker when it can be read.
    pub(crate) fn add(&mut self, fd: BorrowedFd<'_>) -> io::Result<()> {
        self.waits_for_room = false;
        match &self.registry {
            Some(registry) => {
                registry.register(&mut SourceFd(&fd.as_raw_fd()), self.token, Interest::READABLE)
            }
            None => Ok(()),
        }
    }

    /// Forgets `fd`, which is about to be closed or whose worker goes.
    pub(crate) fn remove(&mut self, fd: BorrowedFd<'_>) {
        self.waits_for_room = false;
        self.unwatch_room(fd);
    }

    /// Has `fd` wake the worker when it has room again, or no more.
    pub(crate) fn wait_for_room(&mut self, fd: BorrowedFd<'_>, wait: bool) {
        let Some(registry) = &self.registry else { return };
        if wait == self.waits_for_room {
            return;
        }
        let interest = if wait { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE };
        match registry.reregister(&mut SourceFd(&fd.as_raw_fd()), self.token, interest) {
            Ok(()) => self.waits_for_room = wait,
            Err(error) => tracing::warn!("a network socket cannot be watched: {error}"),
        }
    }

    /// Has room in `fd`, which is not registered, wake the worker; false if that cannot be.
    pub(crate) fn watch_room(&self, fd: BorrowedFd<'_>) -> bool {
        self.registry.as_ref().is_some_and(|registry| {
            registry.register(&mut SourceFd(&fd.as_raw_fd()), self.token, Interest::WRITABLE).is_ok()
        })
    }

    /// Ends [`watch_room`](Self::watch_room).
    pub(crate) fn unwatch_room(&self, fd: BorrowedFd<'_>) {
        if let Some(registry) = &self.registry {
            // What is not registered needs no forgetting.
            let _ = registry.deregister(&mut SourceFd(&fd.as_raw_fd()));
        }
    }
}
