//! `Connections`: all connections of a guest, which of them have something to send, and their host ends' readiness.

use std::{
    collections::{HashMap, VecDeque},
    io,
    os::fd::AsRawFd,
};

use mio::{Interest, Registry, Token, event::Event, unix::SourceFd};

use super::connection::{Connection, Ports};

/// The most connections of a guest, those included whose last bytes the host end did not take yet.
pub const MAX_CONNECTIONS: usize = 1024;

/// Connections in slots, whose numbers are the tokens of their host ends.
#[derive(Debug)]
pub(super) struct Connections {
    registry: Registry,
    /// How many there may be.
    most: usize,
    slots: Vec<Slot>,
    free: Vec<usize>,
    /// Those that the guest knows.
    by_ports: HashMap<Ports, usize>,
    /// Slots whose connections may have something to send, each at most once.
    ready: VecDeque<usize>,
}

#[derive(Debug, Default)]
struct Slot {
    held: Option<(Connection, Interest)>,
    /// Its number is in `ready`; that may be for a connection that it held before.
    is_ready: bool,
}

impl Connections {
    /// None yet, and never more than `most`; host ends will be watched in `registry`.
    pub(super) fn new(registry: Registry, most: usize) -> Self {
        let (slots, free, ready) = (Vec::new(), Vec::new(), VecDeque::new());
        Self { registry, most, slots, free, by_ports: HashMap::new(), ready }
    }

    /// Whether there may be one more.
    pub(super) fn has_room(&self) -> bool {
        self.slots.len() - self.free.len() < self.most
    }

    pub(super) fn find(&self, ports: Ports) -> Option<usize> {
        self.by_ports.get(&ports).copied()
    }

    pub(super) fn connection(&mut self, slot: usize) -> Option<&mut Connection> {
        self.slots.get_mut(slot)?.held.as_mut().map(|(connection, _)| connection)
    }

    /// Adds a connection, for which there is room, between ports that no other has.
    ///
    /// # Errors
    /// The host cannot watch its host end.
    pub(super) fn add(&mut self, connection: Connection) -> io::Result<()> {
        let slot = self.free.last().copied().unwrap_or(self.slots.len());
        let interest = connection.interest();
        self.registry.register(&mut SourceFd(&connection.stream().as_raw_fd()), Token(slot), interest)?;
        if self.free.pop().is_none() {
            self.slots.push(Slot::default());
        }
        self.by_ports.insert(connection.ports(), slot);
        if let Some(place) = self.slots.get_mut(slot) {
            place.held = Some((connection, interest));
        }
        self.settle(slot);
        Ok(())
    }

    /// Something happened at the host end of `slot`, unless that is another by now, which then finds out that nothing
    /// did.
    pub(super) fn wake(&mut self, slot: usize, event: &Event) {
        if let Some(connection) = self.connection(slot) {
            connection.wake(event);
        }
    }

    /// Draws the consequences after a connection changed: it is watched for the right things, waits in line if it has
    /// something to send, and goes if it is over.
    pub(super) fn settle(&mut self, slot: usize) {
        let Some(place) = self.slots.get_mut(slot) else { return };
        let Some((connection, watched)) = &mut place.held else { return };
        if connection.is_left() && self.by_ports.get(&connection.ports()) == Some(&slot) {
            self.by_ports.remove(&connection.ports());
        }
        if connection.is_over() {
            self.remove(slot);
            return;
        }
        let interest = connection.interest();
        if interest != *watched {
            let fd = connection.stream().as_raw_fd();
            // It was registered, so it can be again.
            if self.registry.reregister(&mut SourceFd(&fd), Token(slot), interest).is_ok() {
                *watched = interest;
            }
        }
        if !place.is_ready && connection.next().is_some() {
            place.is_ready = true;
            self.ready.push_back(slot);
        }
    }

    /// Whether some connection may have something to send.
    pub(super) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// The next in line.
    pub(super) fn next_ready(&mut self) -> Option<usize> {
        let slot = self.ready.pop_front()?;
        if let Some(place) = self.slots.get_mut(slot) {
            place.is_ready = false;
        }
        Some(slot)
    }

    /// Drops a connection; its host end sees the end.
    pub(super) fn remove(&mut self, slot: usize) {
        let Some((connection, _)) = self.slots.get_mut(slot).and_then(|place| place.held.take()) else {
            return;
        };
        // Closing it would do, were there no other descriptor of the same socket.
        let _ = self.registry.deregister(&mut SourceFd(&connection.stream().as_raw_fd()));
        if self.by_ports.get(&connection.ports()) == Some(&slot) {
            self.by_ports.remove(&connection.ports());
        }
        self.free.push(slot);
    }

    /// Drops all.
    pub(super) fn clear(&mut self) {
        for slot in 0..self.slots.len() {
            self.remove(slot);
        }
    }
}
