//! Stand-in for the network card (VIRTIO 1.2, 5.1): a driver finds it, and no frame passes.

use super::{Activation, Kind, QueueWorker, VirtioDevice};
use crate::{io::RateLimiter, net::NetBackend};

/// A network card.
pub struct Net {
    name: String,
    mac: [u8; 6],
    queue_sizes: Vec<u16>,
    _backends: Vec<Box<dyn NetBackend>>,
}

/// The card as others see it.
#[derive(Debug, Clone, Default)]
pub struct NetHandle;

/// What has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Frames of the guest.
    pub sent_frames: u64,
    /// Bytes of the guest.
    pub sent_bytes: u64,
    /// Frames for the guest.
    pub received_frames: u64,
    /// Bytes for the guest.
    pub received_bytes: u64,
    /// Frames that were lost.
    pub dropped_frames: u64,
}

impl Net {
    /// A card.
    pub fn new(
        name: impl Into<String>,
        mac: [u8; 6],
        backends: Vec<Box<dyn NetBackend>>,
    ) -> (Self, NetHandle) {
        let card = Self { name: name.into(), mac, queue_sizes: vec![256; 2], _backends: backends };
        (card, NetHandle)
    }

    /// The MTU.
    #[must_use]
    pub fn with_mtu(self, _: u16) -> Self {
        self
    }

    /// The limit.
    #[must_use]
    pub fn with_limiter(self, _: RateLimiter) -> Self {
        self
    }
}

impl NetHandle {
    /// What has passed.
    pub fn counts(&self) -> Counts {
        Counts::default()
    }
}

impl VirtioDevice for Net {
    fn kind(&self) -> Kind {
        Kind::Net
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn features(&self) -> u64 {
        1 << 5
    }

    fn queue_sizes(&self) -> &[u16] {
        &self.queue_sizes
    }

    fn read_config(&self, offset: usize, data: &mut [u8]) {
        for (to, from) in data.iter_mut().zip(self.mac.iter().skip(offset)) {
            *to = *from;
        }
    }

    fn activate(&mut self, _: Activation) -> anyhow::Result<Vec<Box<dyn QueueWorker>>> {
        Ok(Vec::new())
    }
}
