//! `Connection`: a socket to the other program, made again when it was lost.

use std::{
    fmt, io,
    os::fd::AsFd,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use crate::readiness::{Readiness, tokens};

/// How long to wait before the next try to reach what went away.
const RETRY: Duration = Duration::from_secs(1);

/// A socket of the program that serves `path`, while there is one.
#[derive(Debug)]
pub(super) struct Connection<S> {
    path: PathBuf,
    socket: Option<S>,
    readiness: Readiness,
    /// When to try again, since the other end is gone.
    retry: Option<Instant>,
}

impl<S: AsFd> Connection<S> {
    /// The connection that `socket` is.
    pub(super) fn new(path: &Path, socket: S) -> Self {
        let readiness = Readiness::new(tokens::SOCKET);
        Self { path: path.to_owned(), socket: Some(socket), readiness, retry: None }
    }

    /// The socket, unless it was lost.
    pub(super) fn socket(&self) -> Option<&S> {
        self.socket.as_ref()
    }

    /// There is a worker now.
    pub(super) fn start(&mut self, registry: &mio::Registry) -> io::Result<()> {
        self.readiness.start(registry)?;
        match &self.socket {
            Some(socket) => self.readiness.add(socket.as_fd()),
            None => Ok(()),
        }
    }

    /// The worker is gone.
    pub(super) fn stop(&mut self) {
        if let Some(socket) = &self.socket {
            self.readiness.remove(socket.as_fd());
        }
        self.readiness.stop();
    }

    /// Whether there is a worker to wake.
    pub(super) fn is_started(&self) -> bool {
        self.readiness.is_started()
    }

    /// The socket is of no use any more.
    pub(super) fn lose(&mut self, why: &dyn fmt::Display) {
        let Some(socket) = self.socket.take() else { return };
        tracing::warn!("the network at {} went away: {why}", self.path.display());
        self.readiness.remove(socket.as_fd());
        self.retry = Some(Instant::now() + RETRY);
    }

    /// If it is time, tries to have a socket again by `connect`; whether there is a new one.
    pub(super) fn retry(&mut self, connect: impl FnOnce(&Path) -> io::Result<S>) -> bool {
        if self.retry.is_none_or(|at| at > Instant::now()) {
            return false;
        }
        let connected = connect(&self.path).and_then(|socket| {
            self.readiness.add(socket.as_fd())?;
            Ok(socket)
        });
        self.socket = connected.ok();
        let is_back = self.socket.is_some();
        if is_back {
            tracing::info!("the network at {} is back", self.path.display());
        }
        self.retry = (!is_back).then(|| Instant::now() + RETRY);
        is_back
    }

    /// Has room in the socket wake the worker, or no more.
    pub(super) fn wait_for_room(&mut self, wait: bool) {
        if let Some(socket) = &self.socket {
            self.readiness.wait_for_room(socket.as_fd(), wait);
        }
    }

    /// When to [`retry`](Self::retry).
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.retry
    }
}
