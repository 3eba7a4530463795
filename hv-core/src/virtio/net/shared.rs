//! What a network card, its workers and its handles share: backends between drivers, the link, counters.

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{
        AtomicBool, AtomicU8, AtomicU64, AtomicUsize,
        Ordering::{Relaxed, SeqCst},
    },
};

use super::{Counts, MAX_PAIRS};
use crate::{
    io::Bell,
    net::{NetBackend, Offloads},
};

/// The shared part of a card. Locks are held for a moment only, and never over a call of anybody's code.
pub(super) struct Shared {
    pairs: Vec<Pair>,
    /// How many of the pairs the driver uses (5.1.6.5.6).
    used: AtomicUsize,
    /// What of the offloads in received frames the driver wants, as bits of [`Offloads`] (5.1.6.5.7).
    accepted: AtomicU8,
    /// The cable is plugged in.
    is_plugged: AtomicBool,
    state: Mutex<State>,
}

struct State {
    mac: [u8; 6],
    /// The link as the driver was last told.
    told: bool,
}

/// The shared part of a pair of virtqueues.
pub(super) struct Pair {
    /// Here while no worker has it.
    backend: Mutex<Option<Box<dyn NetBackend>>>,
    /// Wakes the worker, while there is one.
    bell: Mutex<Option<Bell>>,
    has_worker: AtomicBool,
    /// The backend is started: frames may move.
    is_running: AtomicBool,
    /// What the backend was last told that the driver wants, as bits of [`Offloads`].
    told: AtomicU8,
    /// The other end is there.
    is_up: AtomicBool,
    pub(super) traffic: Traffic,
}

/// What went through a pair.
#[derive(Default)]
pub(super) struct Traffic {
    sent: Way,
    received: Way,
    dropped: AtomicU64,
}

#[derive(Default)]
struct Way {
    frames: AtomicU64,
    bytes: AtomicU64,
}

impl Shared {
    pub(super) fn new(mac: [u8; 6], backends: Vec<Box<dyn NetBackend>>) -> Self {
        let mut pairs: Vec<_> =
            backends.into_iter().take(MAX_PAIRS).map(|backend| Pair::new(Some(backend))).collect();
        if pairs.is_empty() {
            pairs.push(Pair::new(None));
        }
        let shared = Self {
            pairs,
            used: AtomicUsize::new(1),
            accepted: AtomicU8::new(0),
            is_plugged: AtomicBool::new(true),
            state: Mutex::new(State { mac, told: true }),
        };
        shared.link_changed();
        shared
    }

    pub(super) fn pairs(&self) -> &[Pair] {
        &self.pairs
    }

    pub(super) fn mac(&self) -> [u8; 6] {
        self.state().mac
    }

    pub(super) fn set_mac(&self, mac: [u8; 6]) {
        self.state().mac = mac;
    }

    /// The driver is gone.
    pub(super) fn reset(&self, mac: [u8; 6]) {
        self.set_mac(mac);
        self.used.store(1, SeqCst);
        self.pairs.iter().for_each(|pair| pair.set_bell(None));
        self.link_changed();
    }

    pub(super) fn plug(&self, is_plugged: bool) {
        self.is_plugged.store(is_plugged, SeqCst);
        self.pairs.iter().for_each(Pair::ring);
    }

    pub(super) fn is_plugged(&self) -> bool {
        self.is_plugged.load(SeqCst)
    }

    pub(super) fn link_is_up(&self) -> bool {
        self.is_plugged() && self.pairs.iter().all(|pair| pair.is_up.load(SeqCst))
    }

    /// Whether the link is another than when this was last asked: the driver is to be told.
    pub(super) fn link_changed(&self) -> bool {
        let mut state = self.state();
        let is_up = self.link_is_up();
        std::mem::replace(&mut state.told, is_up) != is_up
    }

    /// Whether the driver uses pair `number`.
    pub(super) fn uses(&self, number: usize) -> bool {
        number < self.used.load(SeqCst)
    }

    /// The driver uses the first `count` pairs from now on.
    pub(super) fn use_pairs(&self, count: usize) {
        self.used.store(count, SeqCst);
        self.pairs.iter().for_each(Pair::ring);
    }

    /// What of the offloads in received frames the driver wants.
    pub(super) fn accepted(&self) -> Offloads {
        Offloads::from_bits_truncate(self.accepted.load(SeqCst))
    }

    /// The driver wants these offloads from now on.
    pub(super) fn accept(&self, accepted: Offloads) {
        self.accepted.store(accepted.bits(), SeqCst);
        self.pairs.iter().for_each(Pair::ring);
    }

    /// Whether every pair's worker does what [`use_pairs`](Self::use_pairs) and [`accept`](Self::accept) want.
    pub(super) fn is_settled(&self) -> bool {
        self.pairs.iter().enumerate().all(|(number, pair)| {
            let uses = self.uses(number);
            let is_told = || !uses || pair.told() == self.accepted();
            !pair.has_worker.load(SeqCst) || (pair.is_running.load(SeqCst) == uses && is_told())
        })
    }

    pub(super) fn counts(&self) -> Counts {
        self.pairs.iter().map(|pair| &pair.traffic).fold(Counts::default(), |counts, traffic| Counts {
            sent_frames: counts.sent_frames + traffic.sent.frames.load(Relaxed),
            sent_bytes: counts.sent_bytes + traffic.sent.bytes.load(Relaxed),
            received_frames: counts.received_frames + traffic.received.frames.load(Relaxed),
            received_bytes: counts.received_bytes + traffic.received.bytes.load(Relaxed),
            dropped_frames: counts.dropped_frames + traffic.dropped.load(Relaxed),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pair {
    fn new(backend: Option<Box<dyn NetBackend>>) -> Self {
        let is_up = backend.as_ref().is_some_and(|backend| backend.is_up());
        Self {
            backend: Mutex::new(backend),
            bell: Mutex::default(),
            has_worker: AtomicBool::new(false),
            is_running: AtomicBool::new(false),
            told: AtomicU8::new(0),
            is_up: AtomicBool::new(is_up),
            traffic: Traffic::default(),
        }
    }

    /// Takes the backend for a worker.
    pub(super) fn take(&self) -> Option<Box<dyn NetBackend>> {
        let backend = self.backend.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.has_worker.store(backend.is_some(), SeqCst);
        backend
    }

    /// The worker is gone.
    pub(super) fn give_back(&self, backend: Box<dyn NetBackend>) {
        *self.backend.lock().unwrap_or_else(PoisonError::into_inner) = Some(backend);
        self.has_worker.store(false, SeqCst);
    }

    pub(super) fn set_running(&self, is_running: bool) {
        self.is_running.store(is_running, SeqCst);
    }

    /// What the backend was last told that the driver wants.
    pub(super) fn told(&self) -> Offloads {
        Offloads::from_bits_truncate(self.told.load(SeqCst))
    }

    /// The backend knows that the driver wants `accepted`.
    pub(super) fn set_told(&self, accepted: Offloads) {
        self.told.store(accepted.bits(), SeqCst);
    }

    /// Says whether that is new.
    pub(super) fn set_up(&self, is_up: bool) -> bool {
        self.is_up.swap(is_up, SeqCst) != is_up
    }

    pub(super) fn set_bell(&self, bell: Option<Bell>) {
        *self.bell.lock().unwrap_or_else(PoisonError::into_inner) = bell;
    }

    /// Wakes the worker, if there is one; else it looks when it starts.
    pub(super) fn ring(&self) {
        let bell = self.bell.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(bell) = bell {
            bell.ring();
        }
    }
}

impl Traffic {
    pub(super) fn sent(&self, bytes: u64) {
        self.sent.count(bytes);
    }

    pub(super) fn received(&self, bytes: u64) {
        self.received.count(bytes);
    }

    pub(super) fn dropped(&self) {
        self.dropped.fetch_add(1, Relaxed);
    }
}

impl Way {
    fn count(&self, bytes: u64) {
        self.frames.fetch_add(1, Relaxed);
        self.bytes.fetch_add(bytes, Relaxed);
    }
}
