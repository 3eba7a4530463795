//! `Flow`: one connection, the guest's end in smoltcp and the host's end in a socket, and the bytes between them.

use std::{
    io::{self, Read, Write},
    net::Shutdown,
    time::{Duration, Instant},
};

use mio::net::TcpStream;
use smoltcp::{
    iface::{SocketHandle, SocketSet, SocketStorage},
    socket::tcp::{self, State},
};

use super::{
    rings::{Rings, Tier},
    segment::{SYN, Segment},
};
use crate::user::link::Ends;

/// Bytes that are read from the host at a time; more only when they are nearly gone, so that they are still in the
/// processor's cache when they go to the guest.
const CHUNK: usize = 128 << 10;

/// Bytes that may wait for the guest before no more are read.
const ENOUGH: usize = 64 << 10;

/// How long the guest may take to answer what opens or closes a connection.
const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(60);

/// How long the guest may take to answer a client of a forwarded port.
const FORWARD_PATIENCE: Duration = Duration::from_secs(10);

/// How long the guest may take to answer data.
const DATA_PATIENCE: Duration = Duration::from_secs(300);

/// How long the guest may leave unanswered what is under way before it is sent again, and twice as long each time. smoltcp waits for
/// a second at the least, as on a network between cities.
const FIRST_RESEND: Duration = Duration::from_millis(100);

/// One connection.
pub(crate) struct Flow {
    pub(crate) ends: Ends,
    pub(crate) stream: TcpStream,
    pub(crate) stage: Stage,
    /// When the flow is going to be looked at.
    pub(crate) planned: Option<Instant>,
}

pub(crate) enum Stage {
    /// The host is asked; the guest's SYN waits for the answer.
    Connecting { syn: Vec<u8>, since: Instant },
    /// Both ends are there.
    Open(Box<Open>),
}

/// A connection with both ends.
pub(crate) struct Open {
    pub(crate) sockets: SocketSet<'static>,
    pub(crate) tier: Tier,
    /// The payload of the segments that the guest's network takes.
    pub(crate) segment: u16,
    /// The sequence number behind the last byte that the ring has room for.
    pub(crate) edge: u32,
    /// The guest was last told of a window that is not scaled, and which smoltcp scales when it looks whether bytes
    /// are within: the ring's edge must be seen to.
    pub(crate) is_window_unscaled: bool,
    /// The guest's window was shut, and it has not been told to be open by a segment without bytes.
    pub(crate) is_shut: bool,
    /// The host may have bytes.
    pub(crate) readable: bool,
    /// The host sends no more, once what it has is read.
    pub(crate) is_ending: bool,
    /// The host may take bytes.
    pub(crate) writable: bool,
    /// The host's last byte was read.
    pub(crate) was_ended_by_host: bool,
    /// The host was told that the guest sends no more.
    pub(crate) was_ended_by_guest: bool,
    /// The host's end was reset: the guest's is, too, once it has what was read before.
    pub(crate) is_reset: bool,
    /// Bytes that were read and have not been sent to the guest yet, about: bytes sent again are counted again.
    pub(crate) unsent: usize,
    /// The sequence number behind the last byte that was sent to the guest.
    pub(crate) sent: u32,
    /// Since when the guest owes an answer.
    pub(crate) waiting: Option<Instant>,
    /// So often what is under way was sent again since then.
    pub(crate) resent: u32,
    /// In the queue of those that may have something for the guest.
    pub(crate) is_queued: bool,
    /// In the list of those that got something from the guest.
    pub(crate) is_touched: bool,
}

impl Open {
    pub(crate) fn new(rings: &mut Rings) -> Self {
        let (tier, from_guest, to_guest) = rings.take();
        let mut socket = tcp::Socket::new(from_guest, to_guest);
        // The link is memory: nothing is gained by waiting.
        socket.set_ack_delay(None);
        socket.set_nagle_enabled(false);
        let mut sockets = SocketSet::new(vec![SocketStorage::EMPTY]);
        sockets.add(socket);
        Self {
            sockets,
            tier,
            segment: 0,
            edge: 0,
            is_window_unscaled: true,
            is_shut: false,
            readable: true,
            is_ending: false,
            writable: true,
            was_ended_by_host: false,
            was_ended_by_guest: false,
            is_reset: false,
            unsent: 0,
            sent: 0,
            waiting: None,
            resent: 0,
            is_queued: false,
            is_touched: false,
        }
    }

    pub(crate) fn socket(&mut self) -> &mut tcp::Socket<'static> {
        socket(&mut self.sockets)
    }

    /// Whether [`fill`](Self::fill) has something to do.
    pub(crate) fn may_fill(&mut self) -> bool {
        self.readable && self.unsent < ENOUGH && self.socket().can_send()
    }

    /// Reads what the host has, as much as is of use now.
    pub(crate) fn fill(&mut self, mut stream: &TcpStream) {
        while self.may_fill() {
            let mut room = 0;
            let read = socket(&mut self.sockets).send(|ring| {
                room = ring.len().min(CHUNK);
                match stream.read(&mut ring[..room]) {
                    Ok(len) => (len, Ok(len)),
                    Err(error) => (0, Err(error)),
                }
            });
            match read {
                Ok(Ok(0)) => {
                    self.readable = false;
                    self.was_ended_by_host = true;
                    self.socket().close();
                }
                Ok(Ok(len)) => {
                    self.unsent += len;
                    // Less than there was room for is all there is: what comes next is another event.
                    self.readable = len == room || self.is_ending;
                }
                Ok(Err(error)) => match error.kind() {
                    io::ErrorKind::WouldBlock => self.readable = false,
                    io::ErrorKind::Interrupted => {}
                    _ => {
                        self.readable = false;
                        self.writable = false;
                        self.is_reset = true;
                    }
                },
                // smoltcp takes no more: the guest is gone.
                Err(_) => self.readable = false,
            }
        }
    }

    /// Writes what the guest has sent, as much as the host takes, and its end.
    pub(crate) fn drain(&mut self, mut stream: &TcpStream) {
        while self.writable && self.socket().can_recv() {
            let written = socket(&mut self.sockets).recv(|ring| match stream.write(ring) {
                Ok(len) => (len, Ok(len)),
                Err(error) => (0, Err(error)),
            });
            match written {
                Ok(Ok(len)) => {
                    self.edge = self.edge.wrapping_add(u32::try_from(len).unwrap_or(u32::MAX));
                }
                Ok(Err(error)) => match error.kind() {
                    io::ErrorKind::WouldBlock => self.writable = false,
                    io::ErrorKind::Interrupted => {}
                    // What it sent before may still be read.
                    _ => {
                        self.writable = false;
                        self.is_reset = true;
                    }
                },
                Err(_) => break,
            }
        }
        let has_ended = matches!(
            self.socket().state(),
            State::CloseWait | State::LastAck | State::Closing | State::TimeWait
        );
        if has_ended && !self.was_ended_by_guest && !self.socket().can_recv() {
            self.was_ended_by_guest = true;
            // If it fails the host's end is gone, which an event says too.
            let _ = stream.shutdown(Shutdown::Write);
        }
    }

    /// Ends it for the guest with a RST; the host's end is of no use any more.
    pub(crate) fn abort(&mut self) {
        self.socket().abort();
        self.readable = false;
        self.writable = false;
    }

    /// Hands the host's reset on, if it is time to.
    pub(crate) fn hand_on_reset(&mut self) {
        if self.is_reset && !self.readable && self.socket().send_queue() == 0 {
            self.abort();
        }
    }

    /// How long the guest may leave us without an answer as things stand.
    pub(crate) fn patience(&mut self) -> Option<Duration> {
        match self.socket().state() {
            State::SynSent => Some(FORWARD_PATIENCE),
            State::SynReceived | State::FinWait1 | State::Closing | State::LastAck => {
                Some(HANDSHAKE_PATIENCE)
            }
            // The RST goes when the guest has room for it.
            State::Closed => None,
            _ => (self.socket().send_queue() > 0).then_some(DATA_PATIENCE),
        }
    }

    /// Counts a segment that goes to the guest.
    pub(crate) fn has_sent(&mut self, segment: Segment) {
        self.unsent = self.unsent.saturating_sub(segment.len);
        self.is_window_unscaled = segment.has(SYN);
        let end = segment.sequence.wrapping_add(u32::try_from(segment.len).unwrap_or(u32::MAX));
        if segment.has(SYN) || is_before(self.sent, end) {
            self.sent = end;
        }
    }

    /// Whether bytes from `sequence` on were sent to the guest.
    pub(crate) fn is_under_way(&self, sequence: u32) -> bool {
        is_before(sequence, self.sent)
    }

    /// When what is under way is sent again, if the guest does not answer: it may have been thrown away.
    pub(crate) fn resend_at(&mut self) -> Option<Instant> {
        let since = self.waiting.filter(|_| !self.is_shut && self.socket().send_queue() > 0)?;
        // Nobody waits for that long.
        Some(since + FIRST_RESEND * 2_u32.pow(self.resent.min(16)))
    }

    /// Whether nothing is left of it but the sockets, and whether it ended as both ends wanted.
    pub(crate) fn end(&mut self) -> Option<bool> {
        let was_ended = self.was_ended_by_host && self.was_ended_by_guest;
        match self.socket().state() {
            // A reset connection still has an end until the RST is sent. One that listens again was reset early.
            State::Closed => self.socket().remote_endpoint().is_none().then_some(was_ended),
            State::Listen => Some(false),
            _ => None,
        }
    }

    /// Whether the host may be left alone for good: nothing has to be waited for on the guest's behalf.
    pub(crate) fn is_over(&mut self) -> bool {
        self.socket().state() == State::TimeWait
    }
}

/// Whether a sequence number is before another (RFC 9293, 3.4).
fn is_before(sequence: u32, other: u32) -> bool {
    matches!(other.wrapping_sub(sequence), 1..=0x7fff_ffff)
}

/// The one socket of a set.
fn socket<'a>(sockets: &'a mut SocketSet<'static>) -> &'a mut tcp::Socket<'static> {
    sockets.get_mut(SocketHandle::default())
}

impl Flow {
    pub(crate) fn open(&mut self) -> Option<(&mut Open, &TcpStream)> {
        match &mut self.stage {
            Stage::Open(open) => Some((open, &self.stream)),
            Stage::Connecting { .. } => None,
        }
    }
}
