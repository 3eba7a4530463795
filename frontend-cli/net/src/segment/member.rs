//! `Member`: another guest on the segment, and how frames get to it.

use std::{
    io,
    os::fd::AsFd,
    path::Path,
    time::{Duration, Instant},
};

use hv_core::memory::{GuestBuffer, volatile_io};
use mio::net::UnixDatagram;

use super::folder;
use crate::{
    readiness::Readiness,
    socket::{enlarge, is_full},
};

/// How long a frame waits for a member that is behind; one that is paused costs that once.
const PATIENCE: Duration = Duration::from_millis(10);

/// How soon to try again where the host does not tell of room (macOS, which says `ENOBUFS`).
const AGAIN: Duration = Duration::from_micros(500);

/// What became of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Delivery {
    /// It went, or is lost for this member.
    Done,
    /// To be tried again when the socket has room, at the latest then.
    Wait(Instant),
    /// The member is no more.
    Gone,
}

#[derive(Debug)]
pub(super) struct Member {
    name: String,
    /// Connected to the member's path, so that the host tells of room.
    socket: UnixDatagram,
    /// Since when a frame waits.
    full_since: Option<Instant>,
    /// It was waited for in vain: frames are dropped until it takes one again.
    is_behind: bool,
    is_watched: bool,
    dropped: u64,
}

impl Member {
    /// Connects to the member at `path` and says `hello`, for it to know of this one.
    pub(super) fn meet(path: &Path, name: &str, hello: &[u8]) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.connect(path)?;
        enlarge(&socket);
        match socket.send(hello) {
            Ok(_) => {}
            // It hears of this one by a frame.
            Err(error) if is_full(&error) => {}
            Err(error) => return Err(error),
        }
        let name = name.to_owned();
        Ok(Self { name, socket, full_since: None, is_behind: false, is_watched: false, dropped: 0 })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Whether frames for it are dropped until it takes one.
    #[cfg(test)]
    pub(super) fn is_behind(&self) -> bool {
        self.is_behind
    }

    /// Sends `frame` behind `head`; if it has no room, waits for a while if the frame `may_wait`.
    pub(super) fn send(
        &mut self,
        head: &[u8],
        frame: GuestBuffer<'_>,
        may_wait: bool,
        readiness: &Readiness,
    ) -> Delivery {
        let Err(error) = volatile_io::gather(self.socket.as_fd(), head, frame, 0) else {
            self.is_behind = false;
            self.wait_no_more(readiness);
            return Delivery::Done;
        };
        if is_full(&error) {
            if may_wait && !self.is_behind {
                let now = Instant::now();
                let until = *self.full_since.get_or_insert(now) + PATIENCE;
                if now < until {
                    self.watch(readiness);
                    let is_told = error.kind() == io::ErrorKind::WouldBlock;
                    return Delivery::Wait(if is_told { until } else { until.min(now + AGAIN) });
                }
                self.is_behind = true;
                self.wait_no_more(readiness);
            }
            self.dropped += 1;
            if self.dropped.is_power_of_two() {
                tracing::debug!("{} frames for guest {} had no room", self.dropped, self.name);
            }
            return Delivery::Done;
        }
        if folder::is_over(&error) {
            self.wait_no_more(readiness);
            return Delivery::Gone;
        }
        // The frame alone: longer than the host lets a datagram be, or no RAM of the guest.
        tracing::debug!("a frame for guest {} is lost: {error}", self.name);
        Delivery::Done
    }

    /// Has room at this member wake the worker.
    fn watch(&mut self, readiness: &Readiness) {
        if !self.is_watched {
            self.is_watched = readiness.watch_room(self.socket.as_fd());
        }
    }

    /// No frame waits for it.
    pub(super) fn wait_no_more(&mut self, readiness: &Readiness) {
        self.full_since = None;
        if self.is_watched {
            self.is_watched = false;
            readiness.unwatch_room(self.socket.as_fd());
        }
    }
}
