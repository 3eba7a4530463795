//! `Stream`: the protocol of passt and QEMU's `-netdev stream`: each frame behind its length, 32 bits, big endian.

mod inbox;

use std::{io, os::fd::AsFd, path::Path, time::Instant};

use hv_core::{
    memory::{GuestBuffer, volatile_io},
    net::{FrameHeader, MAX_FRAME, NetBackend, Offloads, Received},
};
use mio::net::UnixStream;

pub use inbox::{BadLength, Inbox};

use super::{connection::Connection, enlarge, outbox::Outbox};
use crate::ethernet;

/// Frames up to this size are copied and joined; longer ones go straight from guest RAM.
const SMALL: usize = 2048;

/// A stream to the other program.
#[derive(Debug)]
pub(super) struct Stream {
    connection: Connection<UnixStream>,
    inbox: Inbox,
    outbox: Outbox,
    /// Whether there may be more to read.
    is_readable: bool,
}

fn open(path: &Path) -> io::Result<UnixStream> {
    let socket = UnixStream::connect(path)?;
    enlarge(&socket);
    Ok(socket)
}

impl Stream {
    pub(super) fn connect(path: &Path) -> io::Result<Self> {
        Ok(Self {
            connection: Connection::new(path, open(path)?),
            inbox: Inbox::default(),
            outbox: Outbox::default(),
            is_readable: true,
        })
    }

    /// The connection is of no use any more, nor what was under way on it.
    fn lose(&mut self, why: &dyn std::fmt::Display) {
        self.connection.lose(why);
        self.inbox.clear();
        self.outbox.clear();
    }

    /// Writes what waits; true if nothing does any more.
    fn drain(&mut self) -> io::Result<bool> {
        if self.outbox.is_empty() {
            return Ok(true);
        }
        let Some(socket) = self.connection.socket() else { return Ok(true) };
        match self.outbox.flush(socket) {
            Ok(is_empty) => {
                self.connection.wait_for_room(!is_empty);
                Ok(is_empty)
            }
            Err(error) => {
                self.lose(&error);
                Err(error)
            }
        }
    }

    /// Reads until there is a whole frame, or nothing to read; says how long the frame is.
    fn fill(&mut self) -> io::Result<Option<usize>> {
        loop {
            let error: io::Error = match self.inbox.frame() {
                Ok(Some(frame)) => return Ok(Some(frame.len())),
                Ok(None) => {
                    let Some(socket) = self.connection.socket().filter(|_| self.is_readable) else {
                        return Ok(None);
                    };
                    match self.inbox.read_from(socket) {
                        Ok(0) => io::ErrorKind::UnexpectedEof.into(),
                        Ok(_) => continue,
                        Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                            self.is_readable = false;
                            return Ok(None);
                        }
                        Err(error) => error,
                    }
                }
                Err(bad) => io::Error::new(io::ErrorKind::InvalidData, bad),
            };
            self.lose(&error);
            return Err(error);
        }
    }
}

impl NetBackend for Stream {
    fn start(&mut self, _: Offloads, registry: &mio::Registry) -> io::Result<()> {
        self.is_readable = true;
        self.connection.start(registry)
    }

    fn stop(&mut self, _: &mio::Registry) {
        self.connection.stop();
    }

    fn wake(&mut self, _: &mio::Events) {
        self.connection.retry(open);
        self.is_readable = true;
        if self.outbox.is_empty() {
            // Asked for again by the frame that waits, if there is still no room.
            self.connection.wait_for_room(false);
        }
        // Both lose the connection if it is over, before the link is looked at, and have said so then.
        let _ = self.drain();
        let _ = self.fill();
    }

    fn send(&mut self, _: FrameHeader, frame: GuestBuffer<'_>) -> io::Result<bool> {
        let len = usize::try_from(frame.len()).unwrap_or(usize::MAX);
        if !(ethernet::HEADER..=MAX_FRAME).contains(&len) {
            return Ok(true);
        }
        if self.connection.socket().is_none() {
            return Err(io::ErrorKind::NotConnected.into());
        }
        let head = u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes();
        let is_small = len <= SMALL;
        let joins = is_small && self.outbox.has_room(head.len() + len);
        if !joins && !self.drain()? {
            return Ok(false);
        }
        if is_small {
            return self.outbox.push(&head, frame, 0).map(|()| true);
        }
        let Some(socket) = self.connection.socket() else { return Err(io::ErrorKind::NotConnected.into()) };
        match volatile_io::gather(socket.as_fd(), &head, frame, 0) {
            Ok(sent) if sent < head.len() + len => {
                // The rest must follow, whatever becomes of the guest's buffer.
                self.connection.wait_for_room(true);
                let kept = self.outbox.push(&head, frame, sent);
                kept.map(|()| true).inspect_err(|error| self.lose(error))
            }
            Ok(_) => Ok(true),
            Err(error) if super::is_full(&error) => {
                self.connection.wait_for_room(true);
                Ok(false)
            }
            // Of the guest's making, not the host's: too many pieces, or none of its RAM.
            Err(error) if error.raw_os_error().is_none() => Ok(true),
            Err(error) => {
                self.lose(&error);
                Err(error)
            }
        }
    }

    fn flush(&mut self) {
        // A lost connection has been told of.
        let _ = self.drain();
    }

    fn next_len(&mut self) -> Option<usize> {
        self.fill().ok().flatten()
    }

    fn receive(&mut self, buffer: GuestBuffer<'_>) -> io::Result<Option<Received>> {
        if self.fill()?.is_none() {
            return Ok(None);
        }
        let Ok(Some(frame)) = self.inbox.frame() else { return Ok(None) };
        let len = buffer.copy_from(frame);
        self.inbox.consume();
        Ok(Some(Received { header: FrameHeader::default(), len: len? }))
    }

    fn deadline(&self) -> Option<Instant> {
        self.connection.deadline().filter(|_| self.connection.is_started())
    }

    fn is_up(&self) -> bool {
        self.connection.socket().is_some()
    }
}
