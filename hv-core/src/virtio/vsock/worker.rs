//! Serves the queues and the host ends of a socket device on one thread.

use std::{
    collections::VecDeque,
    io, mem,
    os::{fd::AsRawFd, unix::net::UnixStream},
    sync::Arc,
    time::Duration,
};

use mio::{Events, Interest, Poll, Token, unix::SourceFd};

use super::{
    Served, Shared,
    clients::Clients,
    connection::{Abort, Connection, Ports},
    connections::{Connections, MAX_CONNECTIONS},
    packet::{HEADER_LEN, HOST_CID, Header, Operation, STREAM},
    receive::{MAX_PAYLOAD, Receive},
};
use crate::{
    io::{EventLoop, Ready},
    virtio::{Chain, FIRST_SOURCE, QueueError, QueueWorker, Virtqueue},
};

/// Rings when a handle wants something.
const HANDLE: u8 = FIRST_SOURCE;
/// Ready when a socket of the host is.
const SOCKETS: u8 = FIRST_SOURCE + 1;

/// Tokens: those of connections come first, then those of listeners and of their clients.
const LISTENERS: usize = 1 << 16;
const CLIENTS: usize = 1 << 17;
const _: () = assert!(MAX_CONNECTIONS <= LISTENERS);

/// Sockets that are looked at in one turn, and clients that are taken from one listener.
const TURN_SOCKETS: usize = 64;

/// Payload of the guest in one turn, less the last packet's: a reset waits for no more.
const TURN_BYTES: u32 = 1 << 20;

/// Refusals that wait for the driver's buffers; from here on it must give some before its packets are heard.
const MAX_REFUSALS: usize = 128;

/// The first port of the host for connections that it makes; those below are for listeners.
const FIRST_PORT: u32 = 1 << 30;

/// Serves a socket device.
pub(super) struct Worker {
    guest_cid: u64,
    shared: Arc<Shared>,
    queues: Vec<u16>,
    receive: Receive,
    transmit: Virtqueue,
    event: Option<Virtqueue>,
    /// All sockets of the host, as one source of the event loop.
    poll: Poll,
    events: Events,
    connections: Connections,
    listeners: Vec<Listener>,
    clients: Clients,
    /// `RST` packets for what is no connection.
    refusals: VecDeque<Header>,
    /// The driver is to hear that all connections ended.
    owes_event: bool,
    /// One less than the next port of the host, counted from [`FIRST_PORT`].
    last_port: u32,
    payload: Vec<u8>,
}

struct Listener {
    served: Arc<Served>,
    /// Clients may be waiting.
    is_ready: bool,
}

impl Worker {
    /// A worker for at most `most` connections (at most [`MAX_CONNECTIONS`]) of the guest with this CID.
    pub(super) fn new(
        guest_cid: u64,
        most: usize,
        shared: Arc<Shared>,
        [receive, transmit]: [Virtqueue; 2],
        event: Option<Virtqueue>,
    ) -> io::Result<Self> {
        let poll = Poll::new()?;
        let connections = Connections::new(poll.registry().try_clone()?, most);
        Ok(Self {
            guest_cid,
            shared,
            queues: if event.is_some() { vec![0, 1, 2] } else { vec![0, 1] },
            receive: Receive::new(receive),
            transmit,
            event,
            poll,
            events: Events::with_capacity(TURN_SOCKETS),
            connections,
            listeners: Vec::new(),
            clients: Clients::new(CLIENTS),
            refusals: VecDeque::new(),
            owes_event: false,
            last_port: 0,
            payload: vec![0; MAX_PAYLOAD as usize],
        })
    }
}

impl QueueWorker for Worker {
    fn queues(&self) -> &[u16] {
        &self.queues
    }

    fn start(&mut self, event_loop: &mut EventLoop) -> io::Result<()> {
        event_loop.watch(&self.poll, SOCKETS)?;
        self.shared.set_bell(Some(event_loop.bell(HANDLE)));
        Ok(())
    }

    fn serve(&mut self, ready: Ready, event_loop: &mut EventLoop) -> Result<(), QueueError> {
        if ready.contains(HANDLE) {
            self.take_orders();
        }
        let more_sockets = ready.contains(SOCKETS) && self.hear_sockets();
        let more_clients = self.take_clients();
        if more_sockets || more_clients {
            event_loop.bell(SOCKETS).ring();
        }
        let mut more = self.transmit()?;
        let was_held_up = self.is_held_up();
        more |= self.receive()?;
        more |= was_held_up && !self.is_held_up();
        more |= self.tell_event()?;
        if more {
            // Each turn looks at all queues.
            event_loop.bell(1).ring();
        }
        Ok(())
    }
}

/// What the host does.
impl Worker {
    fn take_orders(&mut self) {
        let orders = self.shared.take_orders();
        if orders.interrupt {
            self.connections.clear();
            self.refusals.clear();
            self.owes_event = true;
        }
        for served in self.shared.served_since(self.listeners.len()) {
            let token = Token(LISTENERS + self.listeners.len());
            let fd = served.listener.as_raw_fd();
            if let Err(error) = self.poll.registry().register(&mut SourceFd(&fd), token, Interest::READABLE) {
                tracing::warn!("cannot wait for clients of {:?}: {error}", served.path);
            }
            self.listeners.push(Listener { served, is_ready: true });
        }
        for (port, stream) in orders.connect {
            self.connect(port, stream, false);
        }
    }

    /// Asks the guest for a connection. If there are too many, the host end reads the end.
    fn connect(&mut self, guest: u32, stream: UnixStream, greets: bool) {
        if !self.connections.has_room() {
            return;
        }
        // There are fewer connections than tries.
        for _ in 0..=MAX_CONNECTIONS {
            self.last_port = (self.last_port + 1) % FIRST_PORT;
            let ports = Ports { guest, host: FIRST_PORT + self.last_port };
            if self.connections.find(ports).is_none() {
                self.add(Connection::by_host(ports, stream, greets));
                return;
            }
        }
    }

    fn add(&mut self, connection: Connection) -> bool {
        // Out of memory for one more socket: the host end reads the end.
        self.connections.add(connection).is_ok()
    }

    /// Hears what sockets are ready for; says whether there may be more.
    fn hear_sockets(&mut self) -> bool {
        let mut events = mem::replace(&mut self.events, Events::with_capacity(0));
        // Nothing but a signal keeps it from looking.
        let mut more = self.poll.poll(&mut events, Some(Duration::ZERO)).is_err();
        let mut count = 0;
        for event in &events {
            count += 1;
            match event.token() {
                Token(slot) if slot < LISTENERS => {
                    self.connections.wake(slot, event);
                    self.settle(slot);
                }
                Token(token) if token < CLIENTS => {
                    if let Some(listener) = self.listeners.get_mut(token - LISTENERS) {
                        listener.is_ready = true;
                    }
                }
                token => {
                    if let Some((stream, port)) = self.clients.hear(token, self.poll.registry()) {
                        self.connect(port, stream, true);
                    }
                }
            }
        }
        more |= count >= TURN_SOCKETS;
        self.events = events;
        more
    }

    /// Takes clients from listeners that may have some; says whether there may be more.
    fn take_clients(&mut self) -> bool {
        let mut more = false;
        for listener in self.listeners.iter_mut().filter(|listener| listener.is_ready) {
            let mut left = TURN_SOCKETS;
            loop {
                if left == 0 {
                    more = true;
                    break;
                }
                left -= 1;
                match listener.served.listener.accept() {
                    Ok((stream, _)) => {
                        // One that cannot be watched is dropped.
                        let _ = self.clients.add(stream, self.poll.registry());
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        listener.is_ready = false;
                        break;
                    }
                    Err(error) if is_of_one_client(&error) => {}
                    // Out of descriptors: the next turn tries again.
                    Err(_) => break,
                }
            }
        }
        more
    }

    /// Draws the consequences after a connection changed.
    fn settle(&mut self, slot: usize) {
        if let Some(connection) = self.connections.connection(slot)
            && connection.is_given_up()
        {
            let (ports, is_known) = (connection.ports(), connection.is_known());
            self.connections.remove(slot);
            if is_known {
                self.refuse(&self.packet_of_guest(ports));
            }
            return;
        }
        self.connections.settle(slot);
    }
}

fn is_of_one_client(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted)
}

/// Packets of the guest.
impl Worker {
    /// Hears packets; says whether there may be more.
    fn transmit(&mut self) -> Result<bool, QueueError> {
        self.transmit.disable_doorbell()?;
        let mut bytes = 0;
        let mut again = true;
        for _ in 0..self.transmit.size() {
            if self.is_held_up() {
                again = false;
                break;
            }
            if bytes >= TURN_BYTES {
                break;
            }
            let Some(chain) = self.transmit.pop()? else {
                again = self.transmit.enable_doorbell()?;
                break;
            };
            self.hear(&chain);
            bytes = bytes.saturating_add(chain.readable_len());
            self.transmit.push(chain.head(), 0)?;
            self.transmit.recycle(chain);
        }
        self.transmit.signal()?;
        Ok(again)
    }

    /// Whether the driver must give buffers for refusals before its packets are heard.
    fn is_held_up(&self) -> bool {
        self.refusals.len() >= MAX_REFUSALS
    }

    fn hear(&mut self, chain: &Chain) {
        let mut raw = [0; HEADER_LEN];
        if chain.read_at(self.transmit.ram(), 0, &mut raw) < HEADER_LEN {
            // Nobody can be told.
            return;
        }
        let header = Header::decode(&raw);
        if header.src_cid != self.guest_cid {
            return;
        }
        let operation = Operation::from_number(header.op);
        if header.kind != STREAM || header.dst_cid != HOST_CID {
            if operation != Some(Operation::Reset) {
                self.refuse(&header);
            }
            return;
        }
        let ports = Ports { guest: header.src_port, host: header.dst_port };
        match (operation, self.connections.find(ports)) {
            (Some(Operation::Reset), None) => {}
            (Some(Operation::Reset), Some(slot)) => self.leave(slot),
            (Some(Operation::Request), None) => self.accept(ports, &header),
            (Some(operation), Some(slot)) => match self.hear_of_connection(slot, operation, &header, chain) {
                Ok(false) => self.settle(slot),
                Ok(true) => {
                    self.refuse(&header);
                    self.settle(slot);
                }
                Err(Abort) => {
                    self.refuse(&header);
                    self.leave(slot);
                }
            },
            (_, slot) => {
                self.refuse(&header);
                if let Some(slot) = slot {
                    self.leave(slot);
                }
            }
        }
    }

    /// Hears a packet of a connection; says whether the guest closed it.
    fn hear_of_connection(
        &mut self,
        slot: usize,
        operation: Operation,
        header: &Header,
        chain: &Chain,
    ) -> Result<bool, Abort> {
        let Some(connection) = self.connections.connection(slot) else { return Err(Abort) };
        if operation != Operation::Data {
            return connection.hear(operation, header);
        }
        // The header was whole.
        let most = chain.readable_len().saturating_sub(u32::try_from(HEADER_LEN).unwrap_or_default());
        if header.len > most {
            return Err(Abort);
        }
        connection.hear_data(header, header.len)?;
        let mut offset = 0;
        while offset < header.len {
            let len = (header.len - offset).min(MAX_PAYLOAD);
            let Some(piece) = self.payload.get_mut(..len as usize) else { break };
            // The header's length and a place before the end of the chain: it does not wrap.
            chain.read_at(self.transmit.ram(), offset + (chain.readable_len() - most), piece);
            connection.write(piece);
            offset += len;
        }
        Ok(false)
    }

    /// The guest asks for a connection.
    fn accept(&mut self, ports: Ports, header: &Header) {
        let is_accepted = self.connections.has_room()
            && self
                .shared
                .reach(ports.host)
                .is_ok_and(|stream| self.add(Connection::by_guest(ports, stream, header)));
        if !is_accepted {
            self.refuse(header);
        }
    }

    /// The guest is done with a connection.
    fn leave(&mut self, slot: usize) {
        if let Some(connection) = self.connections.connection(slot) {
            connection.leave();
        }
        self.settle(slot);
    }

    /// Answers a packet with `RST`.
    fn refuse(&mut self, header: &Header) {
        self.refusals.push_back(header.refusal());
    }

    /// A packet as the guest sends it on a connection.
    fn packet_of_guest(&self, ports: Ports) -> Header {
        Header {
            src_cid: self.guest_cid,
            dst_cid: HOST_CID,
            src_port: ports.guest,
            dst_port: ports.host,
            kind: STREAM,
            ..Header::default()
        }
    }
}

/// Packets to the guest.
impl Worker {
    /// Sends what is to be sent, as far as the driver has buffers; says whether there is more to do at once.
    fn receive(&mut self) -> Result<bool, QueueError> {
        self.receive.queue().disable_doorbell()?;
        let mut left = u32::from(self.receive.queue().size());
        let mut again = false;
        while !self.refusals.is_empty() || self.connections.has_ready() {
            if left == 0 {
                again = true;
                break;
            }
            if !self.receive.has_room()? {
                again = self.receive.queue().enable_doorbell()?;
                break;
            }
            let sent = match self.refusals.pop_front() {
                Some(refusal) => self.receive.put(&refusal, &[]).map(|()| 1)?,
                None => self.send_of_next()?,
            };
            left = left.saturating_sub(sent);
        }
        self.receive.queue().signal()?;
        Ok(again)
    }

    /// Sends something of the next connection in line, for which there is a buffer; says how many packets.
    fn send_of_next(&mut self) -> Result<u32, QueueError> {
        let Some(slot) = self.connections.next_ready() else { return Ok(0) };
        let mut sent = 0;
        if let Some(connection) = self.connections.connection(slot)
            && let Some(operation) = connection.next()
        {
            if operation == Operation::Data {
                let room = self.receive.room(connection.may_send().min(MAX_PAYLOAD))?;
                let bytes = self.payload.get_mut(..room as usize).unwrap_or_default();
                let count = connection.read(bytes);
                let mut rest = bytes.get(..count).unwrap_or_default();
                while !rest.is_empty() {
                    let len = self.receive.next_room().min(u32::try_from(rest.len()).unwrap_or(u32::MAX));
                    let Some((piece, after)) = rest.split_at_checked(len as usize).filter(|_| len > 0) else {
                        break;
                    };
                    let header = connection.send(operation, len, self.guest_cid);
                    self.receive.put(&header, piece)?;
                    rest = after;
                    sent += 1;
                }
            } else {
                let header = connection.send(operation, 0, self.guest_cid);
                self.receive.put(&header, &[])?;
                sent = 1;
            }
        }
        self.settle(slot);
        Ok(sent)
    }

    /// Tells the driver that all connections ended, if it has a buffer for that; says whether to look again.
    fn tell_event(&mut self) -> Result<bool, QueueError> {
        let Some(queue) = self.event.as_mut().filter(|_| self.owes_event) else { return Ok(false) };
        queue.disable_doorbell()?;
        let Some(chain) = queue.pop()? else { return queue.enable_doorbell() };
        // VIRTIO_VSOCK_EVENT_TRANSPORT_RESET
        let event = 0_u32.to_le_bytes();
        let written = chain.write_at(queue.ram(), 0, &event);
        if written < event.len() {
            return Err(queue.error(format!("buffer of {written} bytes has no room for an event")));
        }
        queue.push(chain.head(), u32::try_from(written).unwrap_or_default())?;
        queue.recycle(chain);
        queue.signal()?;
        self.owes_event = false;
        Ok(false)
    }
}
