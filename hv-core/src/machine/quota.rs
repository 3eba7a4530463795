//! `Quota`: how much processor time a machine's cores use together, and who waits when it is too much.
//!
//! Each core's thread measures itself, the guest's execution included, when it comes out of the guest; a governor brings
//! the cores out as long as the process uses processor time. Who comes out when the share of the period is used
//! waits for a later period, where orders still find it. What is used too much is taken off later periods.

use std::{
    fmt,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::Context;
use rustix::time::{ClockId, clock_gettime};

use super::CpuQuota;

/// The time in which the share is used.
pub(super) const PERIOD: Duration = Duration::from_millis(100);
/// So often the cores of a busy machine are brought out.
const TICK: Duration = Duration::from_millis(10);
/// So often it is looked whether an idle machine has become busy. What it uses until then is taken off later.
const LONGEST_TICK: Duration = Duration::from_millis(50);
/// Processor time of the process that makes a look at its cores worth while.
const LEAST: Duration = Duration::from_millis(1);
/// It only counts.
const STACK: usize = 128 << 10;

/// Processor time of the period that is under way. Pure arithmetic; times are since any beginning.
#[derive(Debug)]
struct Budget {
    per_period: Duration,
    end_of_period: Duration,
    /// In this period, and too much in those before.
    used: Duration,
}

impl Budget {
    /// At time 0, when a period begins.
    fn new(per_period: Duration) -> Self {
        Self { per_period, end_of_period: PERIOD, used: Duration::ZERO }
    }

    /// `used` more was used until `now`; when there is some left for the one that did, if not now.
    fn charge(&mut self, used: Duration, now: Duration) -> Option<Duration> {
        self.used = self.used.saturating_add(used);
        if let Some(late) = now.checked_sub(self.end_of_period) {
            let periods = 1 + whole(late, PERIOD);
            self.end_of_period = self.end_of_period.saturating_add(PERIOD.saturating_mul(periods));
            self.used = self.used.saturating_sub(self.per_period.saturating_mul(periods));
        }
        let periods = whole(self.used, self.per_period).checked_sub(1)?;
        Some(self.end_of_period.saturating_add(PERIOD.saturating_mul(periods)))
    }
}

/// How many whole parts a time has.
fn whole(time: Duration, part: Duration) -> u32 {
    let parts = time.as_nanos().checked_div(part.as_nanos()).unwrap_or_default();
    u32::try_from(parts).unwrap_or(u32::MAX - 1)
}

/// What the cores of a machine share.
pub(super) struct Quota {
    start: Instant,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    budget: Budget,
    /// Cores in the guest.
    running: usize,
    /// Cores that wait for a later period.
    resting: usize,
    ended: bool,
}

/// A core's measure of itself. It is used on the core's thread.
pub(super) struct Meter {
    quota: Arc<Quota>,
    /// Processor time of the thread that the quota knows of.
    charged: Duration,
}

/// The thread that brings cores out.
pub(super) struct Governor {
    pub(super) quota: Arc<Quota>,
    thread: Option<JoinHandle<()>>,
}

impl Quota {
    fn new(quota: CpuQuota) -> Arc<Self> {
        let budget = Budget::new(PERIOD * quota.thousandths() / 1000);
        let state = State { budget, running: 0, resting: 0, ended: false };
        Arc::new(Self { start: Instant::now(), state: Mutex::new(state), changed: Condvar::new() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Processor time was used; how long the one that used it waits, if it must.
    pub(super) fn charge(&self, used: Duration) -> Option<Duration> {
        let now = self.start.elapsed();
        let until = self.state().budget.charge(used, now)?;
        Some(until.saturating_sub(now))
    }

    /// How many cores wait for a later period.
    #[cfg(test)]
    pub(super) fn resting(&self) -> usize {
        self.state().resting
    }

    /// Waits while no core runs, then for `tick`; false if it is the end.
    fn tick(&self, tick: &mut Duration) -> bool {
        let mut state = self.state();
        while state.running == 0 && !state.ended {
            *tick = TICK;
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let waited = self.changed.wait_timeout_while(state, *tick, |state| !state.ended);
        !waited.unwrap_or_else(PoisonError::into_inner).0.ended
    }
}

impl Meter {
    /// For a core of the calling thread.
    pub(super) fn new(quota: Arc<Quota>) -> Self {
        Self { quota, charged: used_by(ClockId::ThreadCPUTime) }
    }

    /// Charges what the thread used since the last call, and has it `wait`, if it must, for so long or until there is an
    /// order. Says whether it waited.
    pub(super) fn rest(&mut self, wait: impl FnOnce(Duration)) -> bool {
        let used = used_by(ClockId::ThreadCPUTime);
        let Some(time) = self.quota.charge(used.saturating_sub(self.charged)) else {
            self.charged = used;
            return false;
        };
        self.charged = used;
        self.quota.state().resting += 1;
        wait(time);
        self.quota.state().resting -= 1;
        true
    }

    /// The core is in the guest until what this returns is dropped.
    pub(super) fn enter(&self) -> Running<'_> {
        self.quota.state().running += 1;
        self.quota.changed.notify_all();
        Running(&self.quota)
    }
}

/// A core in the guest.
pub(super) struct Running<'a>(&'a Quota);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.state().running -= 1;
    }
}

impl Governor {
    /// Keeps cores to `quota`; `bring_out` makes all of them come out of the guest for a moment.
    pub(super) fn start(quota: CpuQuota, bring_out: impl Fn() + Send + 'static) -> anyhow::Result<Self> {
        let quota = Quota::new(quota);
        let governed = Arc::clone(&quota);
        let thread = thread::Builder::new().name("quota".to_owned()).stack_size(STACK).spawn(move || {
            let (mut tick, mut known) = (TICK, used_by(ClockId::ProcessCPUTime));
            while governed.tick(&mut tick) {
                let used = used_by(ClockId::ProcessCPUTime);
                if used.saturating_sub(known) >= LEAST {
                    (tick, known) = (TICK, used);
                    bring_out();
                } else {
                    tick = (tick * 2).min(LONGEST_TICK);
                }
            }
        });
        Ok(Self { quota, thread: Some(thread.context("cannot start a thread for the CPU quota")?) })
    }
}

impl Drop for Governor {
    fn drop(&mut self) {
        self.quota.state().ended = true;
        self.quota.changed.notify_all();
        // A panic in it has been printed.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

impl fmt::Debug for Governor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Governor({:?})", self.quota.state())
    }
}

/// Processor time that the calling thread, or this process, has used.
fn used_by(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    Duration::from_secs(seconds) + Duration::from_nanos(u64::try_from(time.tv_nsec).unwrap_or_default())
}

#[cfg(test)]
mod tests;
