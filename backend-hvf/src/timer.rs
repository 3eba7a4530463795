//! The EL1 virtual timer (Arm ARM, D11.2.4): when it fires, and when the framework may tell of it again.

use std::time::Duration;

/// `CNTV_CTL_EL0.ENABLE`.
const ENABLE: u64 = 1;
/// `CNTV_CTL_EL0.IMASK`.
const MASKED: u64 = 2;
const NANOSECONDS: u128 = 1_000_000_000;

/// The registers of the virtual timer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VirtualTimer {
    /// `CNTV_CTL_EL0`; ISTATUS in it is not looked at.
    pub control: u64,
    /// `CNTV_CVAL_EL0`.
    pub compare: u64,
}

impl VirtualTimer {
    /// Its line is raised at `count` (`CNTVCT_EL0`).
    pub fn is_asserted(self, count: u64) -> bool {
        self.can_fire() && count >= self.compare
    }

    /// How long after `count` (`CNTVCT_EL0`) its line is raised, of a counter of `frequency` Hz: rounded up, so that
    /// who wakes then is not early. `None` if it never is by itself.
    pub fn until_asserted(self, count: u64, frequency: u64) -> Option<Duration> {
        self.can_fire().then(|| duration(self.compare.saturating_sub(count), frequency))
    }

    /// The mask that the framework sets when the timer fires (`hv_vcpu_set_vtimer_mask`) can be lifted at `count`: the
    /// guest has put the line down, so the next rise is news.
    pub fn may_unmask(self, count: u64) -> bool {
        !self.is_asserted(count)
    }

    fn can_fire(self) -> bool {
        self.control & (ENABLE | MASKED) == ENABLE
    }
}

/// `ticks` of a counter of `frequency` Hz, rounded up to nanoseconds; the longest duration if the counter stands still.
pub fn duration(ticks: u64, frequency: u64) -> Duration {
    if ticks == 0 {
        return Duration::ZERO;
    }
    let Some(seconds) = ticks.checked_div(frequency) else { return Duration::MAX };
    let nanoseconds = (u128::from(ticks % frequency) * NANOSECONDS).div_ceil(frequency.into());
    // At most 10^9: a fraction of a second, rounded up.
    Duration::from_secs(seconds)
        .saturating_add(Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The frequency of Apple's counter.
    const FREQUENCY: u64 = 24_000_000;

    fn enabled(compare: u64) -> VirtualTimer {
        VirtualTimer { control: ENABLE, compare }
    }

    #[test]
    fn a_tick_is_rounded_up_to_nanoseconds() {
        assert_eq!(duration(1, FREQUENCY), Duration::from_nanos(42));
        assert_eq!(duration(3, FREQUENCY), Duration::from_nanos(125));
        assert_eq!(duration(24_000_001, FREQUENCY), Duration::from_nanos(1_000_000_042));
        assert_eq!(duration(u64::MAX, FREQUENCY).as_secs(), u64::MAX / FREQUENCY);
        assert_eq!(duration(u64::MAX, 1), Duration::from_secs(u64::MAX));
        assert_eq!((duration(0, 0), duration(1, 0)), (Duration::ZERO, Duration::MAX));
        // The fraction is a whole second once it is rounded up.
        assert_eq!(duration(u64::MAX - 1, u64::MAX), Duration::from_secs(1));
    }

    #[test]
    fn the_line_is_raised_from_the_compare_value_on() {
        let timer = enabled(100);
        assert_eq!(
            (timer.is_asserted(99), timer.is_asserted(100), timer.is_asserted(u64::MAX)),
            (false, true, true)
        );
        assert_eq!(timer.until_asserted(76, FREQUENCY), Some(Duration::from_micros(1)));
        assert_eq!(timer.until_asserted(100, FREQUENCY), Some(Duration::ZERO));
        assert_eq!(timer.until_asserted(u64::MAX, FREQUENCY), Some(Duration::ZERO));
    }

    #[test]
    fn a_timer_that_is_off_or_masked_never_fires_whatever_its_status() {
        for control in 0..8 {
            let timer = VirtualTimer { control, compare: 5 };
            let fires = control & 3 == 1;
            assert_eq!(timer.is_asserted(5), fires);
            assert_eq!(timer.until_asserted(0, FREQUENCY).is_some(), fires);
            assert_eq!(timer.may_unmask(5), !fires);
        }
        assert!(enabled(5).may_unmask(4));
    }

    proptest! {
        #[test]
        fn nobody_wakes_early_nor_a_tick_late(ticks: u64, frequency in 1..u64::MAX) {
            let nanoseconds = duration(ticks, frequency).as_nanos();
            let exact = u128::from(ticks) * NANOSECONDS;
            prop_assert!(nanoseconds * u128::from(frequency) >= exact);
            prop_assert!((nanoseconds.saturating_sub(1)) * u128::from(frequency) < exact.max(1));
        }
    }
}
