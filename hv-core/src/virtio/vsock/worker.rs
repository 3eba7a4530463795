//! Serves the queues and the host ends of a socket device on one thread.

mod from_guest;
mod host;
mod to_guest;

use std::{collections::VecDeque, io, sync::Arc};

use mio::{Events, Poll};

use super::{
    Served, Shared,
    clients::Clients,
    connections::{Connections, MAX_CONNECTIONS},
    packet::Header,
    receive::{MAX_PAYLOAD, Receive},
};
use crate::{
    io::{EventLoop, Ready, ThreadKind},
    virtio::{FIRST_SOURCE, QueueError, QueueWorker, Virtqueue},
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
    /// The last port of the host that was given to one of its connections, counted from the first such.
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

    fn thread(&self) -> ThreadKind {
        ThreadKind::Sockets
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
        // Before what belongs to new connections.
        let mut more = self.tell_event()?;
        more |= self.transmit()?;
        let was_held_up = self.is_held_up();
        more |= self.receive()?;
        more |= was_held_up && !self.is_held_up();
        if more {
            // Each turn looks at all queues.
            event_loop.bell(1).ring();
        }
        Ok(())
    }
}
