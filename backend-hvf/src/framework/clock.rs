//! The host's counter, of which a guest's virtual counter is the difference to an offset (`hv_vcpu_set_vtimer_offset`).
#![expect(unsafe_code, reason = "calls of the host's C library")]

use std::sync::OnceLock;

const NANOSECONDS: u64 = 1_000_000_000;

/// A tick in nanoseconds, as a fraction (`mach_timebase_info_data_t`).
#[repr(C)]
#[derive(Default)]
struct Timebase {
    numerator: u32,
    denominator: u32,
}

// Of libSystem on a Mac; the simulation has its own.
unsafe extern "C" {
    fn mach_absolute_time() -> u64;
    fn mach_timebase_info(info: *mut Timebase) -> i32;
}

/// The host's counter.
pub(crate) fn counter() -> u64 {
    // SAFETY: it has no precondition.
    unsafe { mach_absolute_time() }
}

/// Ticks of the counter in a second.
pub(crate) fn counter_frequency() -> u64 {
    static FREQUENCY: OnceLock<u64> = OnceLock::new();
    *FREQUENCY.get_or_init(|| {
        let mut base = Timebase::default();
        // SAFETY: it writes two numbers.
        unsafe { mach_timebase_info(&raw mut base) };
        // A host that does not tell has a tick of one nanosecond.
        (NANOSECONDS * u64::from(base.denominator)).checked_div(base.numerator.into()).unwrap_or(NANOSECONDS)
    })
}
