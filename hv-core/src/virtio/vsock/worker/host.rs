//! What the host does: orders of handles, readiness of sockets, clients.

use std::{
    io, mem,
    os::{fd::AsRawFd, unix::net::UnixStream},
    time::Duration,
};

use mio::{Events, Interest, Token, unix::SourceFd};

use super::{
    super::{
        connection::{Connection, Ports},
        connections::MAX_CONNECTIONS,
    },
    CLIENTS, LISTENERS, Listener, TURN_SOCKETS, Worker,
};

/// The first port of the host for connections that it makes; those below are for listeners.
const FIRST_PORT: u32 = 1 << 30;

impl Worker {
    pub(super) fn take_orders(&mut self) {
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

    pub(super) fn add(&mut self, connection: Connection) -> bool {
        // Out of memory for one more socket: the host end reads the end.
        self.connections.add(connection).is_ok()
    }

    /// Hears what sockets are ready for; says whether there may be more.
    pub(super) fn hear_sockets(&mut self) -> bool {
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
    pub(super) fn take_clients(&mut self) -> bool {
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
    pub(super) fn settle(&mut self, slot: usize) {
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
