//! What passes in any time is never more than was said, and never less than that allows.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::SeqCst},
};

use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn rate(per_second: u64, burst: u64) -> Rate {
    Rate { per_second: NonZeroU64::new(per_second).unwrap(), burst }
}

#[test]
fn a_burst_passes_at_once_and_the_rest_at_its_rate() {
    let mut bucket = TokenBucket::new(rate(100, 10));
    assert!((0..10).all(|_| bucket.reserve(1, SECOND).is_none()));
    let ms = Duration::from_millis;
    assert_eq!(bucket.reserve(1, SECOND), Some(ms(1010)));
    assert_eq!(bucket.reserve(2, SECOND), Some(ms(1030)));
    assert_eq!(bucket.reserve(1, ms(1030)), Some(ms(1040)));
    // Ten seconds of rest are worth no more than the burst.
    assert_eq!(bucket.reserve(10, ms(11_030)), None);
    assert_eq!(bucket.reserve(1, ms(11_030)), Some(ms(11_040)));
}

#[test]
fn what_is_larger_than_the_burst_passes_later() {
    let mut bucket = TokenBucket::new(rate(10, 5));
    assert_eq!(bucket.reserve(105, Duration::ZERO), Some(10 * SECOND));
    assert_eq!(bucket.reserve(0, 9 * SECOND), Some(10 * SECOND), "in its turn");
    assert_eq!(bucket.reserve(0, 10 * SECOND), None);
}

#[test]
fn a_debt_that_nobody_will_use_is_forgiven_and_no_more() {
    let mut bucket = TokenBucket::new(rate(10, 5));
    assert_eq!(bucket.reserve(1000, Duration::ZERO), Some(Duration::from_millis(99_500)));
    bucket.forgive();
    assert_eq!(bucket.reserve(1, Duration::ZERO), Some(Duration::from_millis(100)));
    bucket.forgive();
    bucket.fill(SECOND);
    bucket.forgive();
    assert!((0..5).all(|_| bucket.reserve(1, SECOND).is_none()));
    assert!(bucket.reserve(1, SECOND).is_some());
}

#[test]
fn extremes_do_not_overflow() {
    let mut bucket = TokenBucket::new(rate(u64::MAX, u64::MAX));
    assert_eq!(bucket.reserve(u64::MAX, Duration::MAX), None);
    let mut bucket = TokenBucket::new(rate(1, 0));
    for _ in 0..1000 {
        assert_eq!(bucket.reserve(u64::MAX, Duration::ZERO), Some(Duration::MAX));
    }
    assert_eq!(bucket.reserve(0, Duration::from_nanos(u64::MAX)), Some(Duration::MAX));
    // A clock that is behind changes nothing.
    assert_eq!(bucket.reserve(0, Duration::ZERO), Some(Duration::MAX));
}

#[test]
fn both_limits_hold() {
    let time = Arc::new(AtomicU64::new(7_000));
    let clock = Arc::clone(&time);
    let limits = RateLimits { bytes: Some(rate(1000, 1000)), operations: Some(rate(10, 2)) };
    let limiter =
        RateLimiter::with_clock(limits, Box::new(move || Duration::from_millis(clock.load(SeqCst))));
    assert_eq!(limiter.reserve(500), None);
    let due = limiter.reserve(1500).unwrap();
    assert_eq!(due, 8 * SECOND, "bytes");
    assert_eq!(limiter.until(due), Some(SECOND));
    time.store(8_000, SeqCst);
    assert_eq!(limiter.until(due), None);
    assert_eq!((limiter.reserve(0), limiter.reserve(0)), (None, None));
    assert_eq!(limiter.reserve(0), Some(Duration::from_millis(8_100)), "operations");
    limiter.forgive();
    assert_eq!(limiter.reserve(0), Some(Duration::from_millis(8_100)));
    let free = RateLimiter::new(RateLimits::default());
    assert!((0..100).all(|_| free.reserve(u64::MAX).is_none()));
}

proptest! {
    /// Requests come at any times and pass when they may.
    #[test]
    fn no_more_than_the_rate_and_the_burst_passes_in_any_time(
        per_second in 1_u64..2000,
        burst in 0_u64..500,
        requests in prop::collection::vec((0_u64..700_000_000, 0_u64..600), 1..60),
    ) {
        let mut bucket = TokenBucket::new(rate(per_second, burst));
        let mut now = Duration::ZERO;
        let mut passed: Vec<(Duration, u64)> = Vec::new();
        for (gap, amount) in requests {
            now += Duration::from_nanos(gap);
            passed.push((bucket.reserve(amount, now).unwrap_or(now), amount));
        }
        prop_assert!(passed.is_sorted_by_key(|(time, _)| *time), "in their order");
        for (index, (from, first)) in passed.iter().enumerate() {
            let mut sum = 0_u128;
            for (to, amount) in &passed[index..] {
                sum += u128::from(*amount) * 1_000_000_000;
                let at_once = u128::from(burst.max(*first)) * 1_000_000_000;
                // Times are rounded up to nanoseconds.
                let time = (*to - *from).as_nanos() + 1;
                let most = u128::from(per_second) * time + at_once;
                prop_assert!(sum <= most, "{sum} in {:?}", *to - *from);
            }
        }
    }

    /// Who asks as soon as he may gets all of the rate.
    #[test]
    fn no_less_than_the_rate_passes(per_second in 1_u64..100_000, burst in 0_u64..500, amount in 1_u64..900) {
        let mut bucket = TokenBucket::new(rate(per_second, burst));
        let (mut now, mut sum) = (Duration::ZERO, 0);
        for _ in 0..50 {
            now = bucket.reserve(amount, now).unwrap_or(now);
            sum += amount;
        }
        let due = u128::from(sum.saturating_sub(burst)) * 1_000_000_000 / u128::from(per_second);
        prop_assert!(now.as_nanos() <= due + 50, "{now:?} instead of {due} ns");
    }
}
