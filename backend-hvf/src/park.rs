//! `Park`: where a core's thread sleeps, and the flags that wake it, which are never lost.

use std::{ops::BitOr, sync::PoisonError, time::Instant};

use crate::sync::{
    Condvar, Mutex, MutexGuard,
    atomic::{AtomicU32, Ordering},
};

/// Reasons to wake, as a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wake(u32);

impl Wake {
    /// The machine wants the core back.
    pub const KICK: Self = Self(1);
    /// An interrupt may be pending.
    pub const INTERRUPT: Self = Self(2);
    /// The core's power state has changed.
    pub const POWER: Self = Self(4);
    /// The core must look at its power state before it goes on.
    pub(crate) const ATTENTION: Self = Self(8);

    /// No reason: the deadline has passed.
    pub const NONE: Self = Self(0);

    /// One of `others` is in this set.
    pub fn has(self, others: Self) -> bool {
        self.0 & others.0 != 0
    }
}

impl BitOr for Wake {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// The bed of one core's thread. Reasons to wake stay until they are taken.
#[derive(Debug)]
pub struct Park {
    raised: AtomicU32,
    /// Held by the sleeper between its look at `raised` and its sleep.
    bed: Mutex<()>,
    bell: Condvar,
}

impl Default for Park {
    fn default() -> Self {
        Self::new()
    }
}

impl Park {
    /// Nothing is raised.
    pub fn new() -> Self {
        Self { raised: AtomicU32::new(0), bed: Mutex::new(()), bell: Condvar::new() }
    }

    /// Raises `reasons`; wakes the sleeper. Any thread.
    pub fn raise(&self, reasons: Wake) {
        self.raised.fetch_or(reasons.0, Ordering::AcqRel);
        // Who has looked at `raised` before is asleep once the lock is free, and hears the bell.
        drop(self.lock());
        self.bell.notify_one();
    }

    /// The reasons raised among `reasons`, without a lock.
    pub fn raised(&self, reasons: Wake) -> Wake {
        Wake(self.raised.load(Ordering::Acquire) & reasons.0)
    }

    /// Takes the reasons raised among `reasons`, without a lock.
    pub fn take(&self, reasons: Wake) -> Wake {
        if !self.raised(reasons).has(reasons) {
            return Wake::NONE;
        }
        Wake(self.raised.fetch_and(!reasons.0, Ordering::AcqRel) & reasons.0)
    }

    /// Sleeps until one of `reasons` is raised, or `deadline`, if there is one, has come. Takes nothing; answers
    /// [`Wake::NONE`] at the deadline. Only one thread at a time.
    pub fn wait(&self, reasons: Wake, deadline: Option<Instant>) -> Wake {
        let mut bed = self.lock();
        loop {
            let raised = self.raised(reasons);
            if raised.has(reasons) {
                return raised;
            }
            bed = match sleep(&self.bell, bed, deadline) {
                Some(bed) => bed,
                None => return Wake::NONE,
            };
        }
    }

    fn lock(&self) -> MutexGuard<'_, ()> {
        self.bed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One sleep until the bell or the deadline; `None` if it has come.
#[cfg(not(all(feature = "models", test)))]
fn sleep<'a>(
    bell: &Condvar,
    bed: MutexGuard<'a, ()>,
    deadline: Option<Instant>,
) -> Option<MutexGuard<'a, ()>> {
    let Some(deadline) = deadline else {
        return Some(bell.wait(bed).unwrap_or_else(PoisonError::into_inner));
    };
    let left = deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())?;
    Some(bell.wait_timeout(bed, left).unwrap_or_else(PoisonError::into_inner).0)
}

/// A model has no time: a deadline never comes, so what the models show holds without its help.
#[cfg(all(feature = "models", test))]
fn sleep<'a>(bell: &Condvar, bed: MutexGuard<'a, ()>, _: Option<Instant>) -> Option<MutexGuard<'a, ()>> {
    Some(bell.wait(bed).unwrap_or_else(PoisonError::into_inner))
}

#[cfg(all(test, not(feature = "models")))]
mod tests {
    use std::{sync::Arc, thread, time::Duration};

    use super::*;

    const ALL: Wake = Wake(7);

    #[test]
    fn what_was_raised_before_the_wait_ends_it_and_stays_until_it_is_taken() {
        let park = Park::new();
        park.raise(Wake::INTERRUPT);
        park.raise(Wake::INTERRUPT);
        assert_eq!(park.wait(ALL, None), Wake::INTERRUPT);
        assert_eq!(park.wait(ALL, None), Wake::INTERRUPT);
        assert_eq!(park.take(Wake::KICK), Wake::NONE);
        assert_eq!(park.take(ALL), Wake::INTERRUPT);
        assert_eq!(park.take(ALL), Wake::NONE);
    }

    #[test]
    fn a_deadline_ends_a_wait_and_not_before_it_has_come() {
        let park = Park::new();
        park.raise(Wake::POWER);
        let deadline = Instant::now() + Duration::from_millis(5);
        assert_eq!(park.wait(Wake::KICK | Wake::INTERRUPT, Some(deadline)), Wake::NONE);
        assert!(Instant::now() >= deadline);
        assert_eq!(park.wait(Wake::KICK, Some(deadline)), Wake::NONE, "one in the past");
    }

    #[test]
    fn another_thread_ends_a_wait() {
        let park = Arc::new(Park::new());
        let sleeper = thread::spawn({
            let park = park.clone();
            move || park.wait(Wake::KICK | Wake::INTERRUPT, None)
        });
        park.raise(Wake::KICK);
        assert_eq!(sleeper.join().unwrap(), Wake::KICK);
    }
}

/// `cargo test -p backend-hvf --features models --lib models`
#[cfg(all(test, feature = "models"))]
mod models {
    use loom::{model::Builder, sync::Arc, thread};

    use super::*;

    #[test]
    fn a_kick_ends_a_wait_whenever_it_comes() {
        loom::model(|| {
            let park = Arc::new(Park::new());
            let kicker = thread::spawn({
                let park = park.clone();
                move || park.raise(Wake::KICK)
            });
            assert!(park.wait(Wake::KICK | Wake::INTERRUPT, None).has(Wake::KICK));
            assert_eq!(park.take(Wake::KICK), Wake::KICK);
            kicker.join().unwrap();
            assert_eq!(park.take(Wake::KICK), Wake::NONE);
        });
    }

    #[test]
    fn of_two_reasons_that_come_at_once_none_is_lost() {
        // Three threads: orders with more switches than these take minutes and show nothing else.
        let mut builder = Builder::new();
        builder.preemption_bound = Some(3);
        builder.check(|| {
            let park = Arc::new(Park::new());
            let others = [Wake::KICK, Wake::INTERRUPT].map(|reason| {
                let park = park.clone();
                thread::spawn(move || park.raise(reason))
            });
            let mut seen = Wake::NONE;
            while seen != Wake::KICK | Wake::INTERRUPT {
                park.wait(Wake::KICK | Wake::INTERRUPT, None);
                seen = seen | park.take(Wake::KICK | Wake::INTERRUPT);
            }
            for other in others {
                other.join().unwrap();
            }
        });
    }
}
