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
