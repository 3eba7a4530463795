//! Token buckets: so much in a second for a disk or a network, and so much at once. Time comes from outside.

use std::{
    fmt,
    num::NonZeroU64,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

const NANOSECONDS: i128 = 1_000_000_000;

/// How much may pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// In a second, in the long run.
    pub per_second: NonZeroU64,
    /// At once, after a rest.
    pub burst: u64,
}

impl Rate {
    /// `per_second`, of which a tenth may pass at once, so that a wait is short to a person and long to a machine.
    pub fn of(per_second: NonZeroU64) -> Self {
        Self { per_second, burst: (per_second.get() / 10).max(1) }
    }
}

/// A bucket of tokens that fills all the time. What wants to pass takes its tokens at once, were it into debt, and passes
/// when the debt of that moment is paid: so all pass in their order, large and small, and in any time T no more than
/// `per_second` × T + `burst` pass. What is larger than the burst may be that much once.
#[derive(Debug, Clone)]
pub struct TokenBucket {
    /// Tokens in a second.
    rate: i128,
    /// Levels are in billionths of a token: tokens in a second times nanoseconds are whole.
    burst: i128,
    level: i128,
    /// When the level was that.
    at: Duration,
}

impl TokenBucket {
    /// A full bucket at time 0.
    pub fn new(rate: Rate) -> Self {
        let burst = i128::from(rate.burst) * NANOSECONDS;
        Self { rate: rate.per_second.get().into(), burst, level: burst, at: Duration::ZERO }
    }

    /// Takes `amount` tokens at time `now`; when what they are for may pass, if not now.
    pub fn reserve(&mut self, amount: u64, now: Duration) -> Option<Duration> {
        self.fill(now);
        // A level is never more than 2^64 tokens, and a debt of that many takes 10^9 such requests in no time.
        self.level = self.level.saturating_sub(i128::from(amount) * NANOSECONDS);
        let debt = self.level.checked_neg().filter(|debt| *debt > 0)?;
        let wait = (debt + self.rate - 1) / self.rate;
        let wait = u64::try_from(wait).map_or(Duration::MAX, Duration::from_nanos);
        Some(self.at.saturating_add(wait))
    }

    /// Forgets what was reserved and will not pass: the debt is its alone.
    pub fn forgive(&mut self) {
        self.level = self.level.max(0);
    }

    fn fill(&mut self, now: Duration) {
        // Threads may bring their times out of order.
        let Some(elapsed) = now.checked_sub(self.at) else { return };
        self.at = now;
        let nanoseconds = i128::try_from(elapsed.as_nanos()).unwrap_or(i128::MAX);
        let filled = self.rate.saturating_mul(nanoseconds);
        self.level = self.level.saturating_add(filled).min(self.burst);
    }
}

/// What may pass through a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RateLimits {
    /// Bytes.
    pub bytes: Option<Rate>,
    /// Operations.
    pub operations: Option<Rate>,
}

/// A clock that never goes back, from any beginning.
pub type Clock = Box<dyn Fn() -> Duration + Send + Sync>;

/// Keeps what passes through a device to its limits. All queues of the device share it.
pub struct RateLimiter {
    clock: Clock,
    buckets: Mutex<Buckets>,
}

struct Buckets {
    bytes: Option<TokenBucket>,
    operations: Option<TokenBucket>,
}

impl RateLimiter {
    /// By the host's clock.
    pub fn new(limits: RateLimits) -> Self {
        let start = Instant::now();
        Self::with_clock(limits, Box::new(move || start.elapsed()))
    }

    /// By another clock.
    pub fn with_clock(limits: RateLimits, clock: Clock) -> Self {
        let now = clock();
        let full = |rate| TokenBucket { at: now, ..TokenBucket::new(rate) };
        let buckets = Buckets { bytes: limits.bytes.map(full), operations: limits.operations.map(full) };
        Self { clock, buckets: Mutex::new(buckets) }
    }

    /// Takes the tokens of one operation with so many bytes; when it may pass, if not now.
    pub fn reserve(&self, bytes: u64) -> Option<Duration> {
        let now = (self.clock)();
        let mut buckets = self.buckets();
        let Buckets { bytes: byte_bucket, operations } = &mut *buckets;
        let by_bytes = byte_bucket.as_mut().and_then(|bucket| bucket.reserve(bytes, now));
        let by_operations = operations.as_mut().and_then(|bucket| bucket.reserve(1, now));
        by_bytes.max(by_operations)
    }

    /// How long it is until `time`, which [`reserve`](Self::reserve) said; nothing if it has come.
    pub fn until(&self, time: Duration) -> Option<Duration> {
        time.checked_sub((self.clock)()).filter(|wait| !wait.is_zero())
    }

    /// Forgets what was reserved and will not pass: a device was reset.
    pub fn forgive(&self) {
        let mut buckets = self.buckets();
        let Buckets { bytes, operations } = &mut *buckets;
        bytes.iter_mut().chain(operations).for_each(TokenBucket::forgive);
    }

    fn buckets(&self) -> MutexGuard<'_, Buckets> {
        self.buckets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for RateLimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RateLimiter")
    }
}

#[cfg(test)]
mod tests;
