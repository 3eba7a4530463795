//! `Bell`: wakes an event loop from any thread, silent when it already rings.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

/// Rings one bit of one [`EventLoop`](super::EventLoop).
#[derive(Clone)]
pub struct Bell {
    tower: Arc<Tower>,
    bit: u64,
}

/// What the bells of one loop share with it.
pub(super) struct Tower {
    rung: AtomicU64,
    asleep: AtomicBool,
    waker: mio::Waker,
}

impl Bell {
    pub(super) fn new(tower: Arc<Tower>, source: u8) -> Self {
        Self { tower, bit: 1 << (source & 63) }
    }

    /// Makes the loop's current or next turn report this bell's source. Costs a system call only if the loop sleeps.
    pub fn ring(&self) {
        self.tower.rung.fetch_or(self.bit, Ordering::SeqCst);
        if self.tower.asleep.swap(false, Ordering::SeqCst) {
            // A waker fails only when its descriptor is gone, and the loop with it.
            let _ = self.tower.waker.wake();
        }
    }
}

impl Tower {
    pub(super) fn new(waker: mio::Waker) -> Arc<Self> {
        Arc::new(Self { rung: AtomicU64::new(0), asleep: AtomicBool::new(false), waker })
    }

    /// Takes what rang so far.
    pub(super) fn take(&self) -> u64 {
        self.rung.swap(0, Ordering::SeqCst)
    }

    /// Announces that the loop is about to sleep; says false when something rang meanwhile, and it must not.
    pub(super) fn doze(&self) -> bool {
        self.asleep.store(true, Ordering::SeqCst);
        if self.rung.load(Ordering::SeqCst) == 0 {
            return true;
        }
        self.rise();
        false
    }

    /// Announces that the loop is awake.
    pub(super) fn rise(&self) {
        self.asleep.store(false, Ordering::SeqCst);
    }
}

impl fmt::Debug for Bell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bell({})", self.bit.trailing_zeros())
    }
}
