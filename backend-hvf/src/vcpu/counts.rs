//! `Counts`: how often a core came back, and why.

use std::fmt;

use crate::framework::Reason;

/// How often a core came back.
#[derive(Debug, Clone)]
pub(super) struct Counts {
    /// By the class in the syndrome (EC).
    exceptions: [u64; 64],
    canceled: u64,
    timer: u64,
}

impl Default for Counts {
    fn default() -> Self {
        Self { exceptions: [0; 64], canceled: 0, timer: 0 }
    }
}

impl Counts {
    pub(super) fn count(&mut self, reason: &Reason) {
        match reason {
            Reason::Canceled => self.canceled += 1,
            Reason::VirtualTimer => self.timer += 1,
            Reason::Exception { syndrome, .. } => {
                if let Some(count) =
                    usize::try_from(syndrome >> 26 & 63).ok().and_then(|class| self.exceptions.get_mut(class))
                {
                    *count += 1;
                }
            }
            Reason::Unknown(_) => {}
        }
    }
}

impl fmt::Display for Counts {
    /// One line: `2341 exits: 20 by request, 0 of the timer, 2300 of class 0x24, 21 of class 0x16`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = self.exceptions.iter().sum::<u64>() + self.canceled + self.timer;
        write!(f, "{all} exits: {} by request, {} of the timer", self.canceled, self.timer)?;
        for (class, count) in self.exceptions.iter().enumerate().filter(|(_, count)| **count > 0) {
            write!(f, ", {count} of class {class:#x}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_exit_is_counted_by_its_reason() {
        let mut counts = Counts::default();
        let abort = Reason::Exception { syndrome: 0x9300_0046, virtual_address: 0, physical_address: 0 };
        for reason in [abort, abort, Reason::Canceled, Reason::VirtualTimer] {
            counts.count(&reason);
        }
        assert_eq!(counts.to_string(), "4 exits: 1 by request, 1 of the timer, 2 of class 0x24");
    }
}
