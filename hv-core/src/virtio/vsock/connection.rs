//! `Connection`: one stream between a socket of the guest and its host end.

use std::{
    collections::VecDeque,
    fmt,
    io::{self, Read, Write},
    mem,
    net::Shutdown,
    os::unix::net::UnixStream,
};

use mio::{Interest, event::Event};

use super::{
    credit::{Credit, Overrun},
    packet::{CLOSED, HOST_CID, Header, Operation, RECEIVES_NO_MORE, SENDS_NO_MORE, STREAM},
};

/// What tells a guest's connections to the host apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Ports {
    pub(super) guest: u32,
    pub(super) host: u32,
}

/// One stream. What the guest sends goes to the host end at once, or waits here as long as that has no room: never
/// more than the credit that the guest was given. What the host end sends stays in its socket until the guest has
/// credit and buffers.
pub(super) struct Connection {
    ports: Ports,
    /// Ours of the two ends of a socket; does not block.
    stream: UnixStream,
    state: State,
    /// The request or response that is to be sent before all else.
    opening: Option<Operation>,
    credit: Credit,
    /// The guest wants to hear its credit.
    owes_credit: bool,
    /// We have none, and said so.
    asked_credit: bool,
    /// Payload of the guest that the host end has no room for.
    unwritten: VecDeque<u8>,
    /// The host end may have something to read.
    readable: bool,
    /// What the guest will not do any more: flags of its `SHUTDOWN` packets.
    guest_done: u32,
    /// What the host end will not do any more, and how much of that the guest was told.
    host_done: u32,
    told_done: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The host asked, and the guest did not answer yet. A host process may wait for the line that says it did.
    Asked { greets: bool },
    /// Both sides agreed.
    Open,
    /// The guest is done with it; what it sent is still to be written.
    Leaving,
}

/// The guest broke the protocol, or the host end is gone too early: the connection ends with an `RST`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Abort;

impl Connection {
    /// The host asks the guest for a connection. `greets`: the host end hears a line once the guest accepts.
    pub(super) fn by_host(ports: Ports, stream: UnixStream, greets: bool) -> Self {
        Self::new(ports, stream, State::Asked { greets }, Operation::Request)
    }

    /// The guest asked for a connection with `header`, and gets it.
    pub(super) fn by_guest(ports: Ports, stream: UnixStream, header: &Header) -> Self {
        let mut connection = Self::new(ports, stream, State::Open, Operation::Response);
        connection.credit.hear(header.buf_alloc, header.fwd_cnt);
        connection
    }

    fn new(ports: Ports, stream: UnixStream, state: State, opening: Operation) -> Self {
        Self {
            ports,
            stream,
            state,
            opening: Some(opening),
            credit: Credit::default(),
            owes_credit: false,
            asked_credit: false,
            unwritten: VecDeque::new(),
            readable: true,
            guest_done: 0,
            host_done: 0,
            told_done: 0,
        }
    }

    pub(super) fn ports(&self) -> Ports {
        self.ports
    }

    pub(super) fn stream(&self) -> &UnixStream {
        &self.stream
    }

    /// Whether nothing is left to do with it.
    pub(super) fn is_over(&self) -> bool {
        self.state == State::Leaving && self.unwritten.is_empty()
    }

    /// Whether the guest still knows it.
    pub(super) fn is_left(&self) -> bool {
        self.state == State::Leaving
    }

    /// Whether whoever asked the guest is gone before it answered.
    pub(super) fn is_given_up(&self) -> bool {
        matches!(self.state, State::Asked { .. }) && self.is_deaf()
    }

    /// Whether the guest has heard of it.
    pub(super) fn is_known(&self) -> bool {
        self.opening != Some(Operation::Request)
    }

    /// What is to be watched of the host end. Once it sends no more, only its writable side tells on every host when
    /// it is closed altogether.
    pub(super) fn interest(&self) -> Interest {
        if self.unwritten.is_empty() && self.host_done & SENDS_NO_MORE == 0 {
            Interest::READABLE
        } else {
            Interest::READABLE | Interest::WRITABLE
        }
    }

    /// Something happened at the host end.
    pub(super) fn wake(&mut self, event: &Event) {
        self.readable |= event.is_readable() || event.is_read_closed();
        if event.is_write_closed() {
            self.host_done |= RECEIVES_NO_MORE;
        }
        if event.is_writable() || event.is_write_closed() {
            self.flush();
        }
    }

    /// Hears a packet of the guest that is no `REQUEST`, no `RST` and no payload. Says whether the guest closed the
    /// connection, which it then forgets once it sees an `RST`.
    pub(super) fn hear(&mut self, operation: Operation, header: &Header) -> Result<bool, Abort> {
        self.hear_credit(header);
        match (operation, self.state) {
            (Operation::Response, State::Asked { greets }) if self.opening.is_none() => {
                self.state = State::Open;
                if greets {
                    self.greet().map_err(|_| Abort)?;
                }
            }
            (Operation::Shutdown, State::Open) => {
                self.guest_done |= header.flags & CLOSED;
                if self.guest_done == CLOSED {
                    self.leave();
                    return Ok(true);
                }
                if self.guest_done & RECEIVES_NO_MORE != 0 {
                    self.host_done |= SENDS_NO_MORE;
                    self.end(Shutdown::Read);
                }
                self.end_writing();
            }
            (Operation::CreditRequest, State::Open) => self.owes_credit = true,
            (Operation::CreditUpdate, _) => {}
            _ => return Err(Abort),
        }
        Ok(false)
    }

    /// Hears of `len` bytes of payload, which [`write`](Self::write) then brings.
    pub(super) fn hear_data(&mut self, header: &Header, len: u32) -> Result<(), Abort> {
        self.hear_credit(header);
        if self.state != State::Open || self.guest_done & SENDS_NO_MORE != 0 {
            return Err(Abort);
        }
        self.credit.keep(len).map_err(|Overrun| Abort)
    }

    fn hear_credit(&mut self, header: &Header) {
        self.credit.hear(header.buf_alloc, header.fwd_cnt);
        self.asked_credit &= self.credit.may_send() == 0;
    }

    /// The guest will neither send nor receive: what it sent is still written, then the host end sees the end.
    pub(super) fn leave(&mut self) {
        self.state = State::Leaving;
        self.end(Shutdown::Read);
    }

    /// Tells the process that asked which port it has now. Its socket is empty, so there is room.
    fn greet(&mut self) -> io::Result<()> {
        let line = format!("OK {}\n", self.ports.host);
        let written = (&self.stream).write(line.as_bytes())?;
        if written == line.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
    }

    /// Writes payload of the guest, or keeps it until there is room.
    pub(super) fn write(&mut self, bytes: &[u8]) {
        let taken = if self.unwritten.is_empty() { self.offer(bytes) } else { 0 };
        self.unwritten.extend(bytes.get(taken..).unwrap_or_default());
    }

    /// Writes what waits, as far as there is room; memory for it is kept only while something waits.
    fn flush(&mut self) {
        let mut unwritten = mem::take(&mut self.unwritten);
        loop {
            let (front, _) = unwritten.as_slices();
            let (len, taken) = (front.len(), self.offer(front));
            unwritten.drain(..taken);
            if taken < len || len == 0 {
                break;
            }
        }
        if !unwritten.is_empty() {
            self.unwritten = unwritten;
        }
        self.end_writing();
    }

    /// Says how many of `bytes` the host end took, or will never take.
    fn offer(&mut self, bytes: &[u8]) -> usize {
        let mut rest = bytes;
        while !rest.is_empty() {
            if self.is_deaf() {
                rest = &[];
                break;
            }
            match (&self.stream).write(rest) {
                Ok(count) if count > 0 => rest = rest.get(count..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                _ => self.host_done |= RECEIVES_NO_MORE,
            }
        }
        let taken = bytes.len() - rest.len();
        // No more than the guest has credit for.
        self.credit.pass_on(u32::try_from(taken).unwrap_or(u32::MAX));
        taken
    }

    fn is_deaf(&self) -> bool {
        self.host_done & RECEIVES_NO_MORE != 0
    }

    /// The host end sees the end once it has all that the guest sent.
    fn end_writing(&mut self) {
        if self.guest_done & SENDS_NO_MORE != 0 && self.unwritten.is_empty() {
            self.end(Shutdown::Write);
        }
    }

    fn end(&self, half: Shutdown) {
        // It fails where the other side ended it before.
        let _ = self.stream.shutdown(half);
    }

    /// What is to be sent to the guest next.
    pub(super) fn next(&self) -> Option<Operation> {
        if self.opening.is_some() {
            return self.opening;
        }
        if self.state != State::Open {
            return None;
        }
        let data = self.readable && self.host_done & SENDS_NO_MORE == 0;
        if data && self.credit.may_send() > 0 {
            // It tells of credit too.
            Some(Operation::Data)
        } else if self.host_done != self.told_done {
            Some(Operation::Shutdown)
        } else if self.owes_credit || self.credit.is_news() {
            Some(Operation::CreditUpdate)
        } else if data && !self.asked_credit {
            Some(Operation::CreditRequest)
        } else {
            None
        }
    }

    /// The packet for [`next`](Self::next), which is sent now; `len` is that of payload.
    pub(super) fn send(&mut self, operation: Operation, len: u32, guest_cid: u64) -> Header {
        match operation {
            Operation::Request | Operation::Response => self.opening = None,
            Operation::Shutdown => self.told_done = self.host_done,
            Operation::CreditRequest => self.asked_credit = true,
            Operation::Data => self.credit.send(len),
            Operation::CreditUpdate | Operation::Reset => {}
        }
        self.owes_credit = false;
        let (buf_alloc, fwd_cnt) = self.credit.tell();
        Header {
            src_cid: HOST_CID,
            dst_cid: guest_cid,
            src_port: self.ports.host,
            dst_port: self.ports.guest,
            len,
            kind: STREAM,
            op: operation as u16,
            flags: if operation == Operation::Shutdown { self.told_done } else { 0 },
            buf_alloc,
            fwd_cnt,
        }
    }

    /// Bytes that may be sent to the guest now.
    pub(super) fn may_send(&self) -> u32 {
        self.credit.may_send()
    }

    /// Reads what the host end sends, and says how much that is: nothing if there is nothing now, or no more.
    pub(super) fn read(&mut self, bytes: &mut [u8]) -> usize {
        loop {
            match (&self.stream).read(bytes) {
                Ok(count) if count > 0 => return count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.readable = false,
                Ok(_) => self.host_done |= SENDS_NO_MORE,
                // A process that ended with bytes unread.
                Err(_) => self.host_done |= CLOSED,
            }
            return 0;
        }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Connection({:?}, {:?}, {} unwritten)", self.ports, self.state, self.unwritten.len())
    }
}
