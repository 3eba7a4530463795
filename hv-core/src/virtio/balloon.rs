//! The memory balloon (VIRTIO 1.2, 5.5): takes RAM from the guest when the host asks for it, and gives pages that the
//! guest reports free back to the host, without anybody asking.

mod pages;
mod statistics;
#[cfg(test)]
mod tests;
mod worker;

use std::{
    fmt,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

pub use self::statistics::Statistics;
use self::{pages::PAGE, worker::Worker};
use super::{Activation, Kind, QueueWorker, VirtioDevice};
use crate::io::Bell;

/// `VIRTIO_BALLOON_F_STATS_VQ`: the guest tells how it uses its memory.
const F_STATISTICS: u32 = 1;
/// `VIRTIO_BALLOON_F_DEFLATE_ON_OOM`: the guest takes pages back rather than run out of memory.
const F_DEFLATE_ON_OOM: u32 = 2;
/// `VIRTIO_BALLOON_F_PAGE_POISON`: the guest says what it keeps in free pages.
const F_POISON: u32 = 4;
/// `VIRTIO_BALLOON_F_REPORTING`: the guest reports free pages.
const F_REPORTING: u32 = 5;

/// Inflation, deflation, statistics, a queue for hints that we do not offer, reports.
///
/// Drivers number the queue of reports 4, as the specification does, or 3 or 2, without the queues that they do not use,
/// as Linux does. So each queue behind the first two that has no other use is one of reports.
const QUEUE_SIZES: [u16; 5] = [128; 5];

/// Bytes of the configuration space: the target, what the guest gave, hints, poison; numbers of 4 bytes.
const CONFIG_LEN: usize = 16;
const ACTUAL: usize = 4;
const POISON: usize = 12;

/// A balloon.
pub struct Balloon {
    name: String,
    config: [u8; CONFIG_LEN],
    shared: Arc<Shared>,
}

/// The host's hand on a balloon, for as long as it likes.
#[derive(Clone)]
pub struct BalloonHandle(Arc<Shared>);

/// What the device, its worker and its handles share. Sizes are in pages of 4 KiB.
#[derive(Default)]
struct Shared {
    target: AtomicU32,
    actual: AtomicU32,
    poison: AtomicU32,
    /// Bytes.
    reclaimed: AtomicU64,
    /// The host would like to hear how the guest uses its memory.
    asked: AtomicBool,
    heard: Mutex<Heard>,
    heard_more: Condvar,
    /// Wakes the worker, while there is one.
    bell: Mutex<Option<Bell>>,
}

/// What the guest said of its memory.
#[derive(Debug, Clone, Copy, Default)]
struct Heard {
    statistics: Option<Statistics>,
    /// Counts what came.
    count: u64,
}

impl Balloon {
    /// A balloon that is empty and shall stay so.
    pub fn new(name: impl Into<String>) -> (Self, BalloonHandle) {
        let shared = Arc::<Shared>::default();
        let handle = BalloonHandle(Arc::clone(&shared));
        (Self { name: name.into(), config: [0; CONFIG_LEN], shared }, handle)
    }
}

impl BalloonHandle {
    /// Asks the guest to give up `bytes` of its RAM, in all, rounded down to pages of 4 KiB. The guest does what it can,
    /// when it can, and takes pages back before it runs out of memory. A reset empties the balloon and keeps the wish.
    pub fn set_target(&self, bytes: u64) {
        self.0.target.store(u32::try_from(bytes / PAGE).unwrap_or(u32::MAX), SeqCst);
        self.0.ring();
    }

    /// Bytes that the guest was asked to give up.
    pub fn target(&self) -> u64 {
        u64::from(self.0.target.load(SeqCst)) * PAGE
    }

    /// Bytes that the guest says that it gave up.
    pub fn actual(&self) -> u64 {
        u64::from(self.0.actual.load(SeqCst)) * PAGE
    }

    /// Bytes that were given back to the host since the machine was made, those too that the guest took again.
    pub fn reclaimed(&self) -> u64 {
        self.0.reclaimed.load(SeqCst)
    }

    /// Asks the guest how it uses its memory and waits for the answer as long as `patience`; what it said before if none
    /// comes, and nothing if it never said anything.
    pub fn statistics(&self, patience: Duration) -> Option<Statistics> {
        let heard = self.0.heard();
        let before = heard.count;
        self.0.asked.store(true, SeqCst);
        if !self.0.ring() {
            return heard.statistics;
        }
        let waited = self.0.heard_more.wait_timeout_while(heard, patience, |heard| heard.count == before);
        waited.unwrap_or_else(PoisonError::into_inner).0.statistics
    }
}

impl Shared {
    /// Wakes the worker, if there is one.
    fn ring(&self) -> bool {
        let bell = self.bell.lock().unwrap_or_else(PoisonError::into_inner);
        bell.as_ref().map(Bell::ring).is_some()
    }

    fn set_bell(&self, bell: Option<Bell>) {
        *self.bell.lock().unwrap_or_else(PoisonError::into_inner) = bell;
    }

    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hear(&self, statistics: Option<Statistics>) {
        let mut heard = self.heard();
        *heard = Heard { statistics, count: heard.count + 1 };
        drop(heard);
        self.heard_more.notify_all();
    }
}

impl VirtioDevice for Balloon {
    fn kind(&self) -> Kind {
        Kind::Balloon
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn features(&self) -> u64 {
        1 << F_STATISTICS | 1 << F_DEFLATE_ON_OOM | 1 << F_POISON | 1 << F_REPORTING
    }

    fn queue_sizes(&self) -> &[u16] {
        &QUEUE_SIZES
    }

    fn read_config(&self, offset: usize, data: &mut [u8]) {
        let target = self.shared.target.load(SeqCst).to_le_bytes();
        let config = target.iter().chain(self.config.iter().skip(target.len()));
        for (to, from) in data.iter_mut().zip(config.skip(offset)) {
            *to = *from;
        }
    }

    /// The driver writes what it gave up and what it keeps in free pages (5.5.4).
    fn write_config(&mut self, offset: usize, data: &[u8]) {
        for ((at, to), from) in self.config.iter_mut().enumerate().skip(offset).zip(data) {
            if (ACTUAL..ACTUAL + 4).contains(&at) || (POISON..POISON + 4).contains(&at) {
                *to = *from;
            }
        }
        self.shared.actual.store(self.field(ACTUAL), SeqCst);
        self.shared.poison.store(self.field(POISON), SeqCst);
    }

    fn activate(&mut self, with: Activation) -> anyhow::Result<Vec<Box<dyn QueueWorker>>> {
        Ok(vec![Box::new(Worker::new(self.name.clone(), Arc::clone(&self.shared), with))])
    }

    /// The guest has all its pages again.
    fn reset(&mut self) {
        self.shared.set_bell(None);
        self.config = [0; CONFIG_LEN];
        self.shared.actual.store(0, SeqCst);
        self.shared.poison.store(0, SeqCst);
        self.shared.hear(None);
    }
}

impl Balloon {
    fn field(&self, offset: usize) -> u32 {
        let bytes = self.config.iter().skip(offset).take(4).rev();
        bytes.fold(0, |value, byte| value << 8 | u32::from(*byte))
    }
}

impl fmt::Debug for Balloon {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Balloon({})", self.name)
    }
}

impl fmt::Debug for BalloonHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BalloonHandle({} of {} bytes)", self.actual(), self.target())
    }
}
