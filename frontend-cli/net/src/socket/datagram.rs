//! `Datagram`: the protocol of gvproxy, vfkit and vmnet-helper: a frame in each datagram, both ends with a path.

use std::{
    io,
    os::fd::AsFd,
    path::Path,
    time::{Duration, Instant},
};

use hv_core::{
    memory::{GuestBuffer, volatile_io},
    net::{FrameHeader, MAX_FRAME, NetBackend, Offloads, Received},
};
use mio::net::UnixDatagram;
use rustix::io::Errno;
use tempfile::TempDir;

use super::{connection::Connection, enlarge, is_full};
use crate::{ethernet, mailbox::Mailbox};

/// What a client says first, for its peer to learn where to send.
const GREETING: &[u8; 4] = b"VFKT";

/// How long to wait where the host does not tell of room (macOS, which says `ENOBUFS`).
const FULL: Duration = Duration::from_micros(500);

/// Datagrams to and from the other program.
#[derive(Debug)]
pub(super) struct Datagram {
    connection: Connection<UnixDatagram>,
    paths: Paths,
    mailbox: Mailbox,
    /// When to try again where the host had no room.
    again: Option<Instant>,
}

/// The paths of this end, one for each connection.
#[derive(Debug)]
struct Paths {
    /// Private to this user, and gone with this value.
    folder: TempDir,
    /// Connections that were made.
    count: u64,
}

impl Datagram {
    pub(super) fn connect(path: &Path, parent: &Path) -> io::Result<Self> {
        let folder = tempfile::Builder::new().prefix(".net-").tempdir_in(parent)?;
        let mut paths = Paths { folder, count: 0 };
        let connection = Connection::new(path, paths.open(path)?);
        Ok(Self { connection, paths, mailbox: Mailbox::default(), again: None })
    }

    /// Where this end's paths are.
    pub(super) fn folder(&self) -> &Path {
        self.paths.folder.path()
    }

    /// Reads until there is a frame, or nothing to read; says how long the frame is.
    fn fill(&mut self) -> io::Result<Option<usize>> {
        let Some(socket) = self.connection.socket() else { return Ok(None) };
        let is_frame = |bytes: &[u8]| (ethernet::HEADER..=MAX_FRAME).contains(&bytes.len()).then_some(0);
        let filled = self.mailbox.fill(|bytes| socket.recv(bytes), is_frame);
        filled.inspect_err(|error| self.connection.lose(error))
    }
}

impl Paths {
    /// Binds the next path, connects to `path` and greets.
    fn open(&mut self, path: &Path) -> io::Result<UnixDatagram> {
        let own = self.folder.path().join(self.count.to_string());
        let socket = UnixDatagram::bind(own)?;
        // The path of the connection before; a peer that lost it knows it no more.
        if let Some(before) = self.count.checked_sub(1) {
            // It is gone with the folder at the latest.
            let _ = std::fs::remove_file(self.folder.path().join(before.to_string()));
        }
        self.count += 1;
        socket.connect(path)?;
        enlarge(&socket);
        socket.send(GREETING)?;
        Ok(socket)
    }
}

impl NetBackend for Datagram {
    fn start(&mut self, _: Offloads, registry: &mio::Registry) -> io::Result<()> {
        self.mailbox.may_have_more();
        self.connection.start(registry)
    }

    fn stop(&mut self, _: &mio::Registry) {
        self.connection.stop();
    }

    fn wake(&mut self, _: &mio::Events) {
        if self.again.is_some_and(|at| at <= Instant::now()) {
            self.again = None;
        }
        self.connection.retry(|path| self.paths.open(path));
        self.mailbox.may_have_more();
        // A lost connection has been told of.
        let _ = self.fill();
        // Asked for again by the frame that waits, if there is still no room.
        self.connection.wait_for_room(false);
    }

    fn send(&mut self, _: FrameHeader, frame: GuestBuffer<'_>) -> io::Result<bool> {
        let len = usize::try_from(frame.len()).unwrap_or(usize::MAX);
        if !(ethernet::HEADER..=MAX_FRAME).contains(&len) {
            return Ok(true);
        }
        let Some(socket) = self.connection.socket() else { return Err(io::ErrorKind::NotConnected.into()) };
        let Err(error) = volatile_io::gather(socket.as_fd(), &[], frame, 0) else { return Ok(true) };
        match Errno::from_io_error(&error) {
            _ if is_full(&error) => {
                self.connection.wait_for_room(true);
                if error.kind() != io::ErrorKind::WouldBlock {
                    self.again = Some(Instant::now() + FULL);
                }
                Ok(false)
            }
            // Longer than the host lets a datagram be, or of more pieces: this frame alone is lost.
            None | Some(Errno::MSGSIZE | Errno::INVAL) => Ok(true),
            Some(_) => {
                self.connection.lose(&error);
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
        if !self.connection.is_started() {
            return None;
        }
        [self.connection.deadline(), self.again, self.mailbox.deadline()].into_iter().flatten().min()
    }

    fn is_up(&self) -> bool {
        self.connection.socket().is_some()
    }
}
