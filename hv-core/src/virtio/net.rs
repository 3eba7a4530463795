//! The virtio network device (VIRTIO 1.2, 5.1): an Ethernet card whose cable ends in a [`NetBackend`], or in several, one
//! for each pair of its virtqueues.
//!
//! Frames go straight between guest RAM and the backend. Nothing is dropped for want of room: a backend that has none
//! holds up the driver's queue, and without buffers of the driver frames stay with the backend.

mod common;
mod control;
mod lengths;
mod plug;
mod receive;
mod scratch;
mod shared;
#[cfg(test)]
mod tests;
mod transmit;
mod worker;

use std::{fmt, sync::Arc};

use anyhow::Context;
use virtio_bindings::virtio_net::{
    VIRTIO_NET_F_CSUM, VIRTIO_NET_F_CTRL_GUEST_OFFLOADS, VIRTIO_NET_F_CTRL_MAC_ADDR, VIRTIO_NET_F_CTRL_RX,
    VIRTIO_NET_F_CTRL_VQ, VIRTIO_NET_F_GUEST_CSUM, VIRTIO_NET_F_GUEST_ECN, VIRTIO_NET_F_GUEST_TSO4,
    VIRTIO_NET_F_GUEST_TSO6, VIRTIO_NET_F_HOST_ECN, VIRTIO_NET_F_HOST_TSO4, VIRTIO_NET_F_HOST_TSO6,
    VIRTIO_NET_F_MAC, VIRTIO_NET_F_MQ, VIRTIO_NET_F_MRG_RXBUF, VIRTIO_NET_F_MTU, VIRTIO_NET_F_STATUS,
    VIRTIO_NET_S_LINK_UP,
};

use self::{common::Common, control::Control, plug::Plug, receive::Receive, shared::Shared, worker::Worker};
use super::{Activation, Kind, QueueWorker, VirtioDevice};
use crate::{
    io::RateLimiter,
    net::{NetBackend, Offloads},
};

/// Size of each virtqueue.
const QUEUE_SIZE: u16 = 256;

/// The most pairs of virtqueues: each has two of the 32, and commands have one.
pub const MAX_PAIRS: usize = 15;

/// The least MTU that a device may have (5.1.4.1).
const MIN_MTU: u16 = 68;

/// Offloads and the features that stand for them, in frames of one direction (5.1.3).
type Features = [(Offloads, u32); 4];

/// In frames that the guest sends.
const OF_GUEST: Features = [
    (Offloads::CHECKSUM, VIRTIO_NET_F_CSUM),
    (Offloads::TSO4, VIRTIO_NET_F_HOST_TSO4),
    (Offloads::TSO6, VIRTIO_NET_F_HOST_TSO6),
    (Offloads::ECN, VIRTIO_NET_F_HOST_ECN),
];

/// In frames that the guest receives.
const TO_GUEST: Features = [
    (Offloads::CHECKSUM, VIRTIO_NET_F_GUEST_CSUM),
    (Offloads::TSO4, VIRTIO_NET_F_GUEST_TSO4),
    (Offloads::TSO6, VIRTIO_NET_F_GUEST_TSO6),
    (Offloads::ECN, VIRTIO_NET_F_GUEST_ECN),
];

/// A network card for the guest.
pub struct Net {
    name: String,
    mac: [u8; 6],
    mtu: Option<u16>,
    /// What every backend takes, and what every one gives.
    takes: Offloads,
    gives: Offloads,
    limiter: Option<Arc<RateLimiter>>,
    queue_sizes: Vec<u16>,
    shared: Arc<Shared>,
}

/// The host's hand on a network card, for as long as it likes; all clones are the same.
#[derive(Clone)]
pub struct NetHandle(Arc<Shared>);

/// What went through a network card since it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Frames that the guest sent.
    pub sent_frames: u64,
    /// Their bytes.
    pub sent_bytes: u64,
    /// Frames that the guest received.
    pub received_frames: u64,
    /// Their bytes.
    pub received_bytes: u64,
    /// Frames of both directions that were lost: no frames by their length, sent to nobody, or too long for the buffers
    /// that the driver gave.
    pub dropped_frames: u64,
}

impl Net {
    /// A card with this address, and a pair of virtqueues for each of `backends` (1 to [`MAX_PAIRS`]; what is beyond is
    /// left out, and without one the card does not work).
    pub fn new(
        name: impl Into<String>,
        mac: [u8; 6],
        backends: Vec<Box<dyn NetBackend>>,
    ) -> (Self, NetHandle) {
        let all = |offloads: fn(&dyn NetBackend) -> Offloads| {
            backends.iter().fold(Offloads::all(), |all, backend| all & offloads(&**backend))
        };
        let (takes, gives) = (all(|backend| backend.takes()), all(|backend| backend.gives()));
        let shared = Arc::new(Shared::new(mac, backends));
        let handle = NetHandle(Arc::clone(&shared));
        let queues = 2 * shared.pairs().len() + 1;
        let queue_sizes = vec![QUEUE_SIZE; queues];
        (Self { name: name.into(), mac, mtu: None, takes, gives, limiter: None, queue_sizes, shared }, handle)
    }

    /// Tells the driver how long packets may be, at least 68 bytes. Longer frames for the guest are lost.
    #[must_use]
    pub fn with_mtu(self, mtu: u16) -> Self {
        Self { mtu: Some(mtu.max(MIN_MTU)), ..self }
    }

    /// Keeps the bytes of frames, both ways and of all queues together, to what `limiter` lets pass; each frame is an
    /// operation. What has no tokens waits.
    #[must_use]
    pub fn with_limiter(self, limiter: impl Into<Arc<RateLimiter>>) -> Self {
        Self { limiter: Some(limiter.into()), ..self }
    }

    fn config(&self) -> [u8; 12] {
        let status = if self.shared.link_is_up() { VIRTIO_NET_S_LINK_UP } else { 0 };
        let mut config = [0; 12];
        config[..6].copy_from_slice(&self.shared.mac());
        // Both have few bits.
        let words =
            [u16::try_from(status), u16::try_from(self.shared.pairs().len()), Ok(self.mtu.unwrap_or(0))];
        for (to, word) in config[6..].chunks_exact_mut(2).zip(words) {
            to.copy_from_slice(&word.unwrap_or(0).to_le_bytes());
        }
        config
    }
}

impl NetHandle {
    /// Plugs the cable in, or pulls it: the guest is told, and meanwhile its frames are lost, and those for it wait.
    pub fn set_link(&self, is_up: bool) {
        self.0.plug(is_up);
    }

    /// What went through so far.
    pub fn counts(&self) -> Counts {
        self.0.counts()
    }
}

/// What remains of `offloads` when those are gone that need others (5.1.3.1): who cuts a frame makes new checksums, and
/// only what is cut has a first segment.
fn sound(offloads: Offloads) -> Offloads {
    let cuts = Offloads::TSO4 | Offloads::TSO6;
    match offloads.contains(Offloads::CHECKSUM) {
        true if offloads.intersects(cuts) => offloads,
        true => offloads - Offloads::ECN,
        false => Offloads::empty(),
    }
}

fn to_features(offloads: Offloads, table: &Features) -> u64 {
    let features = table.iter().filter(|(offload, _)| sound(offloads).contains(*offload));
    features.fold(0, |features, (_, bit)| features | 1 << bit)
}

fn from_features(features: u64, table: &Features) -> Offloads {
    let accepted = table.iter().filter(|(_, bit)| features >> bit & 1 == 1);
    sound(accepted.fold(Offloads::empty(), |all, (offload, _)| all | *offload))
}

impl VirtioDevice for Net {
    fn kind(&self) -> Kind {
        Kind::Net
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn features(&self) -> u64 {
        let mut features = [
            VIRTIO_NET_F_MAC,
            VIRTIO_NET_F_STATUS,
            VIRTIO_NET_F_MRG_RXBUF,
            VIRTIO_NET_F_CTRL_VQ,
            VIRTIO_NET_F_CTRL_RX,
            VIRTIO_NET_F_CTRL_MAC_ADDR,
            VIRTIO_NET_F_CTRL_GUEST_OFFLOADS,
        ]
        .iter()
        .fold(0, |features, bit| features | 1 << bit);
        features |= u64::from(self.mtu.is_some()) << VIRTIO_NET_F_MTU;
        features |= u64::from(self.shared.pairs().len() > 1) << VIRTIO_NET_F_MQ;
        features | to_features(self.takes, &OF_GUEST) | to_features(self.gives, &TO_GUEST)
    }

    fn queue_sizes(&self) -> &[u16] {
        &self.queue_sizes
    }

    /// Address, status, pairs of virtqueues, MTU (5.1.4).
    fn read_config(&self, offset: usize, data: &mut [u8]) {
        for (to, from) in data.iter_mut().zip(self.config().into_iter().skip(offset)) {
            *to = from;
        }
    }

    fn activate(&mut self, with: Activation) -> anyhow::Result<Vec<Box<dyn QueueWorker>>> {
        let has = |bit: u32| with.features >> bit & 1 == 1;
        // Where the queue for commands is goes by what was negotiated (5.1.2).
        let pairs = if has(VIRTIO_NET_F_MQ) { self.shared.pairs().len() } else { 1 };
        let mut queues = with.queues;
        let mut take = |index: usize| queues.get_mut(index).and_then(Option::take);
        let mut control = take(2 * pairs).filter(|_| has(VIRTIO_NET_F_CTRL_VQ));
        let found = (0..pairs).map_while(|number| take(2 * number).zip(take(2 * number + 1)));
        let found: Vec<_> = found.collect();
        anyhow::ensure!(!found.is_empty(), "the driver enabled no pair of virtqueues for frames");
        self.shared.accept(from_features(with.features, &TO_GUEST));
        let longest = self.mtu.filter(|_| has(VIRTIO_NET_F_MTU)).map(lengths::longest_plain);
        let count = found.len();
        let workers = found.into_iter().enumerate().map(|(number, (receive, transmit))| {
            let plug = Plug::new(Arc::clone(&self.shared), number)
                .with_context(|| format!("queue pair {number} has no backend"))?;
            let common = Common::new(
                self.name.clone(),
                Arc::clone(receive.ram()),
                Arc::clone(&self.shared),
                number,
                self.limiter.clone(),
            );
            let receive = Receive::new(receive, has(VIRTIO_NET_F_MRG_RXBUF), longest);
            let control = control.take().map(|queue| Control::new(queue, with.features, count));
            let worker = Worker::new(plug, common, receive, transmit, control, with.config_changed.clone());
            Ok(Box::new(worker) as Box<dyn QueueWorker>)
        });
        workers.collect()
    }

    fn reset(&mut self) {
        self.shared.reset(self.mac);
        if let Some(limiter) = &self.limiter {
            limiter.forgive();
        }
    }
}

impl fmt::Debug for Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Net({}, {} queue pairs)", self.name, self.shared.pairs().len())
    }
}

impl fmt::Debug for NetHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NetHandle({:?})", self.counts())
    }
}
