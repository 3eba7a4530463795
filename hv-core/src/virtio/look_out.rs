//! `LookOut`: a short look for the driver's next chain before sleeping, for as long as that pays.

use std::{
    hint,
    time::{Duration, Instant},
};

/// The longest look. A wake-up through the host's kernel costs some 5 to 50 µs, on both sides.
const LONGEST: Duration = Duration::from_micros(32);
/// The shortest look: it costs next to nothing, and finds out when looking pays again.
const SHORTEST: Duration = Duration::from_micros(1);

/// How long to look: longer after each find, shorter after each look in vain, so that a driver with one chain
/// now and then costs no processor time.
#[derive(Debug, Clone, Copy)]
pub(super) struct LookOut(Duration);

impl LookOut {
    pub(super) fn new() -> Self {
        Self(SHORTEST)
    }

    /// Looks until `found` or the time is over; says whether it was found.
    pub(super) fn look(&mut self, mut found: impl FnMut() -> bool) -> bool {
        let start = Instant::now();
        while start.elapsed() < self.0 {
            for _ in 0..16 {
                if found() {
                    self.0 = (self.0 * 2).min(LONGEST);
                    return true;
                }
                hint::spin_loop();
            }
        }
        self.0 = (self.0 / 2).max(SHORTEST);
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_make_it_patient_and_vain_looks_make_it_short_again() {
        let mut look_out = LookOut::new();
        for _ in 0..10 {
            assert!(look_out.look(|| true));
        }
        assert_eq!(look_out.0, LONGEST);
        for _ in 0..10 {
            assert!(!look_out.look(|| false));
        }
        assert_eq!(look_out.0, SHORTEST);
    }
}
