//! What a user network is to be, and what others may know of it.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use super::Forward;

/// Connections at a time if nothing else is said.
const DEFAULT_MAX_CONNECTIONS: usize = 4096;

/// What a user network is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserConfig {
    /// Ports of the host that lead to the guest.
    pub forwards: Vec<Forward>,
    /// Whether the guest may reach services of this host: by the gateway's address, which stands for the host's
    /// loopback, and by the host's own addresses.
    pub host: bool,
    /// Connections of TCP at a time; more are refused. At most 196,608.
    pub max_connections: usize,
}

impl Default for UserConfig {
    fn default() -> Self {
        Self { forwards: Vec::new(), host: false, max_connections: DEFAULT_MAX_CONNECTIONS }
    }
}

/// What a network and its handles have in common.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) forwards: Vec<Forward>,
    pub(super) tcp: AtomicUsize,
    pub(super) udp: AtomicUsize,
}

/// What others may know of a user network that a card has.
#[derive(Debug, Clone)]
pub struct UserHandle(pub(super) Arc<Shared>);

impl UserHandle {
    /// The forwarded ports, with the host's ports that were really bound.
    pub fn forwards(&self) -> &[Forward] {
        &self.0.forwards
    }

    /// Connections of TCP that there are.
    pub fn tcp_connections(&self) -> usize {
        self.0.tcp.load(Relaxed)
    }

    /// Exchanges over UDP that there are: an address and port of the guest with another.
    pub fn udp_exchanges(&self) -> usize {
        self.0.udp.load(Relaxed)
    }
}
