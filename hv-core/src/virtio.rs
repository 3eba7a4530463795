//! Virtio (OASIS VIRTIO 1.2): the page a device author reads.
//!
//! A device implements [`VirtioDevice`]: what it is, what it offers, and [`QueueWorker`]s that serve its
//! virtqueues on threads of their own. Negotiation, transports and interrupts are shared by all devices.

pub mod balloon;
pub mod block;
pub mod console;
pub mod endpoint;
pub mod entropy;
mod look_out;
pub mod mmio;
pub mod negotiation;
pub mod net;
pub mod pci;
pub mod queue;
pub mod vsock;
pub mod workers;

use std::{fmt, sync::Arc, time::Duration};

pub use endpoint::Endpoint;
pub use endpoint::Surroundings;
pub use queue::{Chain, ConfigInterrupt, QueueInterrupt, Virtqueue};

use crate::{
    hypervisor::Reclaimer,
    io::{EventLoop, Ready, ThreadKind},
    memory::GuestRam,
};

/// The device types of VIRTIO 1.2, chapter 5.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// 5.1
    Net,
    /// 5.2
    Block,
    /// 5.3
    Console,
    /// 5.4
    Entropy,
    /// 5.5
    Balloon,
    /// 5.10
    Vsock,
    /// One that hv has not, by its number: a device of the program that builds the machine.
    Other(u8),
}

impl Kind {
    /// Its number (chapter 5).
    pub const fn number(self) -> u8 {
        match self {
            Self::Net => 1,
            Self::Block => 2,
            Self::Console => 3,
            Self::Entropy => 4,
            Self::Balloon => 5,
            Self::Vsock => 19,
            Self::Other(number) => number,
        }
    }
}

/// How virtio devices are found and driven.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Transport {
    /// PCI functions with MSI-X (VIRTIO 1.2, 4.1).
    #[default]
    Pci,
    /// Register windows in memory (VIRTIO 1.2, 4.2).
    Mmio,
}

/// A device behind a virtio transport. Every call comes from the transport, one at a time.
pub trait VirtioDevice: Send {
    /// Its type.
    fn kind(&self) -> Kind;

    /// Its name in messages and threads: `disk0`.
    fn name(&self) -> &str;

    /// The device-type features it offers. Transports add `VERSION_1`, `EVENT_IDX` and `INDIRECT_DESC`.
    fn features(&self) -> u64;

    /// The largest size of each of its virtqueues (powers of two); at most 32 queues.
    fn queue_sizes(&self) -> &[u16];

    /// A load from its configuration space; what lies beyond reads as zero. `data` comes zeroed.
    fn read_config(&self, offset: usize, data: &mut [u8]);

    /// A store to its configuration space; what lies beyond is dropped.
    fn write_config(&mut self, offset: usize, data: &[u8]) {
        let _ = (offset, data);
    }

    /// The driver is ready (`DRIVER_OK`). The workers run until the transport stops them for a pause
    /// or for good.
    ///
    /// # Errors
    /// The device cannot work; the driver sees `DEVICE_NEEDS_RESET`.
    fn activate(&mut self, with: Activation) -> anyhow::Result<Vec<Box<dyn QueueWorker>>>;

    /// The driver reset the device, or the machine was reset; the workers are gone.
    fn reset(&mut self) {}
}

/// What a device gets to work with when its driver is ready.
pub struct Activation {
    /// Guest RAM.
    pub ram: GuestRam,
    /// Gives of it back to the host what the guest does not need.
    pub reclaimer: Arc<dyn Reclaimer>,
    /// The features that both sides agreed on, transport bits too.
    pub features: u64,
    /// The virtqueues, in the device's numbering; `None` where the driver enabled none.
    pub queues: Vec<Option<Virtqueue>>,
    /// Tells the driver that the configuration space changed.
    pub config_changed: ConfigInterrupt,
}

impl fmt::Debug for Activation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Activation").field("features", &self.features).field("queues", &self.queues).finish()
    }
}

/// Serves some of a device's virtqueues on a thread of its own.
pub trait QueueWorker: Send {
    /// The virtqueues whose doorbells it wants to hear, in the device's numbering.
    fn queues(&self) -> &[u16];

    /// The kind of thread that it runs, and ends, on.
    fn thread(&self) -> ThreadKind {
        ThreadKind::Worker
    }

    /// Called on the worker's thread when it starts, and again after each pause: watches sources of its
    /// own under the numbers [`FIRST_SOURCE`]`..63`.
    ///
    /// # Errors
    /// A source cannot be watched; the device stops working.
    fn start(&mut self, event_loop: &mut EventLoop) -> std::io::Result<()> {
        let _ = event_loop;
        Ok(())
    }

    /// Serves what became ready: source n below [`FIRST_SOURCE`] is virtqueue n's doorbell. Called once after each
    /// start with all of the worker's queues and all of its own numbers. When it returns, nothing is under way that
    /// the worker does not hold.
    ///
    /// A reset waits for it, so it takes a bounded time however much a driver makes available: after a queue's size
    /// of chains it rings the queue's own bell (`event_loop.bell(source)`) and leaves the rest to the next call.
    ///
    /// # Errors
    /// The driver broke the protocol; it sees `DEVICE_NEEDS_RESET`.
    fn serve(&mut self, ready: Ready, event_loop: &mut EventLoop) -> Result<(), QueueError>;

    /// How long to wait at most before the next [`serve`](Self::serve), though nothing becomes ready (then none is); asked
    /// after each. Without an answer, as long as it takes.
    fn patience(&self) -> Option<Duration> {
        None
    }
}

/// Numbers below are virtqueues, numbers from here up to 62 a worker's own; 63 is the transport's.
pub const FIRST_SOURCE: u8 = 32;

/// The driver broke the protocol of a virtqueue (VIRTIO 1.2, 2.1.2): the device needs a reset.
#[derive(Debug, thiserror::Error)]
#[error("virtqueue {queue}: {reason}")]
pub struct QueueError {
    /// Which virtqueue, in the device's numbering.
    pub queue: u16,
    /// What was wrong.
    pub reason: String,
}
