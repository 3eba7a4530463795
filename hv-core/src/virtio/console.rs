//! The virtio console device (VIRTIO 1.2, 5.3): a terminal, and beside it named ports for other streams of bytes.
//!
//! With the terminal alone it offers no `MULTIPORT`: Linux before its commit 5326ab737a47 reads the size in that
//! feature's resize message with columns and rows exchanged; the configuration space is understood by all.

mod control;
mod port;
#[cfg(test)]
mod tests;
mod worker;

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use self::{port::Host, worker::Worker};
use super::{Activation, Kind, QueueWorker, VirtioDevice};
use crate::{
    chardev::{CharSink, Input, TerminalSize},
    io::Bell,
};

/// `VIRTIO_CONSOLE_F_SIZE`: the configuration space holds the terminal's size.
const F_SIZE: u32 = 0;
/// `VIRTIO_CONSOLE_F_MULTIPORT`: there are more ports, and control queues.
const F_MULTIPORT: u32 = 1;

/// Size of each queue.
const QUEUE_SIZE: u16 = 64;

/// The most ports: each has two of the 32 queues, and the control messages have two.
pub const MAX_PORTS: usize = 15;

/// The longest name of a port in bytes.
const MAX_NAME: usize = 64;

/// The host's end of a port.
pub struct HostPort {
    /// What the guest calls it: `/dev/virtio-ports/NAME`, at most 64 bytes. The terminal's is not used.
    pub name: String,
    /// Takes what the guest writes.
    pub sink: Box<dyn CharSink>,
    /// Holds what the guest is to read.
    pub input: Input,
}

/// A console device.
pub struct Console {
    name: String,
    hosts: Vec<Arc<Host>>,
    queue_sizes: Vec<u16>,
    shared: Arc<Shared>,
}

/// The host's hand on a console device, for as long as it likes.
#[derive(Clone)]
pub struct ConsoleHandle(Arc<Shared>);

/// What the device, its worker and its handles share.
#[derive(Default)]
struct Shared {
    size: Mutex<TerminalSize>,
    /// Wakes the worker, while there is one.
    bell: Mutex<Option<Bell>>,
    /// By port: the guest listens.
    open: Vec<AtomicBool>,
}

impl Console {
    /// A device with a terminal and `others` (at most 14; what is beyond is left out).
    pub fn new(name: impl Into<String>, terminal: HostPort, others: Vec<HostPort>) -> (Self, ConsoleHandle) {
        let ports = [terminal].into_iter().chain(others).take(MAX_PORTS);
        let hosts: Vec<_> = ports.map(|port| Arc::new(Host::new(port))).collect();
        let queues = if hosts.len() == 1 { 2 } else { 2 * hosts.len() + 2 };
        let open = hosts.iter().map(|_| AtomicBool::new(false)).collect();
        let shared = Arc::new(Shared { open, ..Shared::default() });
        let handle = ConsoleHandle(Arc::clone(&shared));
        (Self { name: name.into(), hosts, queue_sizes: vec![QUEUE_SIZE; queues], shared }, handle)
    }
}

impl ConsoleHandle {
    /// The terminal has this size now; the guest is told if it is another.
    pub fn resize(&self, size: TerminalSize) {
        *self.0.size.lock().unwrap_or_else(PoisonError::into_inner) = size;
        if let Some(bell) = &*self.0.bell() {
            bell.ring();
        }
    }

    /// Whether the guest listens on `port` (0 is the terminal): it has a driver and, with several ports, opened it.
    pub fn guest_listens(&self, port: usize) -> bool {
        self.0.open.get(port).is_some_and(|open| open.load(Ordering::Relaxed))
    }
}

impl Shared {
    fn size(&self) -> TerminalSize {
        *self.size.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn bell(&self) -> std::sync::MutexGuard<'_, Option<Bell>> {
        self.bell.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_open(&self, port: usize) -> bool {
        self.open.get(port).is_some_and(|open| open.load(Ordering::Relaxed))
    }

    fn set_open(&self, port: usize, is_open: bool) {
        if let Some(open) = self.open.get(port) {
            open.store(is_open, Ordering::Relaxed);
        }
    }
}

impl VirtioDevice for Console {
    fn kind(&self) -> Kind {
        Kind::Console
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn features(&self) -> u64 {
        1 << F_SIZE | u64::from(self.hosts.len() > 1) << F_MULTIPORT
    }

    fn queue_sizes(&self) -> &[u16] {
        &self.queue_sizes
    }

    /// Columns, rows, the largest number of ports (5.3.4).
    fn read_config(&self, offset: usize, data: &mut [u8]) {
        let size = self.shared.size();
        // At most MAX_PORTS.
        let ports = u32::try_from(self.hosts.len()).unwrap_or(0);
        let config =
            size.columns.to_le_bytes().into_iter().chain(size.rows.to_le_bytes()).chain(ports.to_le_bytes());
        for (to, from) in data.iter_mut().zip(config.skip(offset)) {
            *to = from;
        }
    }

    fn activate(&mut self, with: Activation) -> anyhow::Result<Vec<Box<dyn QueueWorker>>> {
        let multiport = with.features >> F_MULTIPORT & 1 == 1;
        let worker = Worker::new(&self.hosts, Arc::clone(&self.shared), with, multiport);
        // Without control messages the guest has no way to say that it listens.
        self.shared.set_open(0, !multiport);
        Ok(vec![Box::new(worker)])
    }

    fn reset(&mut self) {
        *self.shared.bell() = None;
        for port in 0..self.hosts.len() {
            self.shared.set_open(port, false);
        }
    }
}

impl fmt::Debug for Console {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Console({}, {} ports)", self.name, self.hosts.len())
    }
}

impl fmt::Debug for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HostPort({}, {:?})", self.name, self.input)
    }
}

impl fmt::Debug for ConsoleHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ConsoleHandle({:?})", self.0.size())
    }
}
