//! `Datagram`: the protocol of gvproxy, vfkit and vmnet-helper: a frame in each datagram, both ends with a path.

use std::{
    io,
    os::fd::AsFd,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use hv_core::{
    memory::{GuestBuffer, volatile_io},
    net::{FrameHeader, MAX_FRAME, NetBackend, Offloads, Received},
};
use mio::net::UnixDatagram;
use rustix::io::Errno;
use tempfile::TempDir;

use super::{RETRY, enlarge, is_full};
use crate::{
    ethernet,
    mailbox::Mailbox,
    readiness::{Readiness, tokens},
};

/// What a client says first, for its peer to learn where to send.
const GREETING: &[u8; 4] = b"VFKT";

/// How long to wait where the host does not tell of room (macOS, which says `ENOBUFS`).
const FULL: Duration = Duration::from_micros(500);

/// A connection to the other program, made again when it was lost.
#[derive(Debug)]
pub(super) struct Datagram {
    path: PathBuf,
    socket: Option<UnixDatagram>,
    /// Private to this user, and gone with this value: it holds this end's path.
    folder: TempDir,
    /// Connections that were made.
    count: u64,
    readiness: Readiness,
    mailbox: Mailbox,
    /// When to try again, because there was no room or because the other end is gone.
    again: Option<Instant>,
}

impl Datagram {
    pub(super) fn connect(path: &Path) -> io::Result<Self> {
        let mut datagram = Self {
            path: path.to_owned(),
            socket: None,
            folder: tempfile::Builder::new().prefix("hv-net-").tempdir()?,
            count: 0,
            readiness: Readiness::new(tokens::SOCKET),
            mailbox: Mailbox::default(),
            again: None,
        };
        datagram.open()?;
        Ok(datagram)
    }

    /// Binds a path, connects and greets.
    fn open(&mut self) -> io::Result<()> {
        let own = self.folder.path().join(self.count.to_string());
        let socket = UnixDatagram::bind(own)?;
        // The path of the connection before; a peer that lost it knows it no more.
        if let Some(before) = self.count.checked_sub(1) {
            // It is gone with the folder at the latest.
            let _ = std::fs::remove_file(self.folder.path().join(before.to_string()));
        }
        self.count += 1;
        socket.connect(&self.path)?;
        enlarge(&socket);
        socket.send(GREETING)?;
        self.readiness.add(socket.as_fd())?;
        self.mailbox.may_have_more();
        self.socket = Some(socket);
        Ok(())
    }

    fn lose(&mut self, why: &dyn std::fmt::Display) {
        let Some(socket) = self.socket.take() else { return };
        tracing::warn!("the network at {} went away: {why}", self.path.display());
        self.readiness.remove(socket.as_fd());
        self.again = Some(Instant::now() + RETRY);
    }

    /// Reads until there is a frame, or nothing to read; says how long the frame is.
    fn fill(&mut self) -> io::Result<Option<usize>> {
        let Some(socket) = &self.socket else { return Ok(None) };
        let is_frame = |bytes: &[u8]| (ethernet::HEADER..=MAX_FRAME).contains(&bytes.len()).then_some(0);
        let filled = self.mailbox.fill(|bytes| socket.recv(bytes), is_frame);
        filled.inspect_err(|error| self.lose(error))
    }
}

impl NetBackend for Datagram {
    fn start(&mut self, _: Offloads, registry: &mio::Registry) -> io::Result<()> {
        self.readiness.start(registry)?;
        self.mailbox.may_have_more();
        match &self.socket {
            Some(socket) => self.readiness.add(socket.as_fd()),
            None => Ok(()),
        }
    }

    fn stop(&mut self, _: &mio::Registry) {
        if let Some(socket) = &self.socket {
            self.readiness.remove(socket.as_fd());
        }
        self.readiness.stop();
    }

    fn wake(&mut self, _: &mio::Events) {
        if self.again.is_some_and(|at| at <= Instant::now()) {
            self.again = None;
            if self.socket.is_none() {
                match self.open() {
                    Ok(()) => tracing::info!("the network at {} is back", self.path.display()),
                    Err(_) => self.again = Some(Instant::now() + RETRY),
                }
            }
        }
        self.mailbox.may_have_more();
        // A lost connection has been told of.
        let _ = self.fill();
        if let Some(socket) = &self.socket {
            // Asked for again by the frame that waits, if there is still no room.
            self.readiness.wait_for_room(socket.as_fd(), false);
        }
    }

    fn send(&mut self, _: FrameHeader, frame: GuestBuffer<'_>) -> io::Result<bool> {
        let len = usize::try_from(frame.len()).unwrap_or(usize::MAX);
        if !(ethernet::HEADER..=MAX_FRAME).contains(&len) {
            return Ok(true);
        }
        let Some(socket) = &self.socket else { return Err(io::ErrorKind::NotConnected.into()) };
        let Err(error) = volatile_io::gather(socket.as_fd(), &[], frame, 0) else { return Ok(true) };
        match Errno::from_io_error(&error) {
            _ if is_full(&error) => {
                self.readiness.wait_for_room(socket.as_fd(), true);
                if error.kind() != io::ErrorKind::WouldBlock {
                    self.again = Some(Instant::now() + FULL);
                }
                Ok(false)
            }
            // Longer than the host lets a datagram be, or of more pieces: this frame alone is lost.
            None | Some(Errno::MSGSIZE | Errno::INVAL) => Ok(true),
            Some(_) => {
                self.lose(&error);
                Err(error)
            }
        }
    }

    fn next_len(&mut self) -> Option<usize> {
        self.fill().ok().flatten()
    }

    fn receive(&mut self, buffer: GuestBuffer<'_>) -> io::Result<Option<Received>> {
        self.fill()?;
        self.mailbox.give(buffer)
    }

    fn deadline(&self) -> Option<Instant> {
        if !self.readiness.is_started() {
            return None;
        }
        [self.again, self.mailbox.deadline()].into_iter().flatten().min()
    }

    fn is_up(&self) -> bool {
        self.socket.is_some()
    }
}
