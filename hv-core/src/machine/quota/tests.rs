//! The arithmetic of periods, by times that the test says.

use proptest::prelude::*;

use super::*;

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

#[test]
fn the_share_of_a_period_is_used_and_the_next_brings_another() {
    let mut budget = Budget::new(ms(25));
    assert_eq!(budget.charge(ms(10), ms(10)), None);
    assert_eq!(budget.charge(ms(14), ms(30)), None);
    assert_eq!(budget.charge(ms(1), ms(31)), Some(ms(100)));
    assert_eq!(budget.charge(ms(0), ms(99)), Some(ms(100)), "still");
    assert_eq!(budget.charge(ms(0), ms(100)), None);
    assert_eq!(budget.charge(ms(25), ms(199)), Some(ms(200)));
}

#[test]
fn what_was_too_much_is_taken_off_later_and_what_was_left_is_gone() {
    let mut budget = Budget::new(ms(25));
    assert_eq!(budget.charge(ms(80), ms(20)), Some(ms(300)), "three shares, and a bit of the fourth");
    assert_eq!(budget.charge(ms(0), ms(300)), None);
    assert_eq!(budget.charge(ms(19), ms(310)), None);
    assert_eq!(budget.charge(ms(1), ms(320)), Some(ms(400)));
    // Nothing was used for a second: that is no more than one share afterwards.
    assert_eq!(budget.charge(ms(0), ms(1400)), None);
    assert_eq!(budget.charge(ms(25), ms(1410)), Some(ms(1500)));
}

#[test]
fn several_processors_share_several() {
    let mut budget = Budget::new(ms(150));
    assert!((1..15).all(|n| budget.charge(ms(10), ms(n * 5)).is_none()));
    assert_eq!(budget.charge(ms(10), ms(75)), Some(ms(100)));
}

#[test]
fn extremes_do_not_overflow() {
    let mut budget = Budget::new(Duration::from_micros(1));
    assert!(budget.charge(Duration::MAX, Duration::ZERO).is_some());
    assert!(budget.charge(Duration::MAX, Duration::MAX).is_some());
    assert!(budget.charge(Duration::ZERO, Duration::ZERO).is_some());
}

proptest! {
    /// A core runs for some time whenever it may. Over any number of periods it gets its share of each, but for what it
    /// uses of the last at once.
    #[test]
    fn the_share_holds_in_the_long_run(
        share in 1_u64..200,
        runs in prop::collection::vec((1_u64..40, 0_u64..30), 1..200),
    ) {
        let mut budget = Budget::new(ms(share));
        let (mut now, mut used) = (Duration::ZERO, Duration::ZERO);
        for (run, pause) in runs {
            now += ms(run);
            used += ms(run);
            let periods = whole(now, PERIOD) + 1;
            prop_assert!(used <= ms(share) * periods + ms(40), "{used:?} in {now:?}");
            now = budget.charge(ms(run), now).unwrap_or(now) + ms(pause);
        }
    }
}
