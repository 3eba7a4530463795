//! `IrqLine`: one input of the interrupt controller; `SharedLine`: several devices on one input.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use super::IrqChip;

/// One input of the interrupt controller, held by one device.
pub struct IrqLine {
    wire: Arc<Wire>,
    high: AtomicBool,
}

/// An input that several devices drive: it is high while any of them holds it high.
pub struct SharedLine(Arc<Wire>);

struct Wire {
    chip: Arc<dyn IrqChip>,
    gsi: u32,
    holders: Mutex<u32>,
}

impl IrqLine {
    /// The input `gsi` of `chip`, for one device alone.
    pub fn new(chip: Arc<dyn IrqChip>, gsi: u32) -> Self {
        SharedLine::new(chip, gsi).share()
    }

    /// The input's number.
    pub fn gsi(&self) -> u32 {
        self.wire.gsi
    }

    /// Drives the line high or low; the chip hears only of changes.
    pub fn set(&self, high: bool) {
        // The holders' lock keeps the order in which levels reach the chip.
        let mut holders = self.wire.holders.lock().unwrap_or_else(PoisonError::into_inner);
        if self.high.swap(high, Ordering::Relaxed) == high {
            return;
        }
        let before = *holders;
        *holders = if high { before.saturating_add(1) } else { before.saturating_sub(1) };
        if (before == 0) != (*holders == 0) {
            self.wire.chip.set_line(self.wire.gsi, high);
        }
    }

    /// One edge: high, then low.
    pub fn pulse(&self) {
        self.set(true);
        self.set(false);
    }
}

impl Drop for IrqLine {
    fn drop(&mut self) {
        self.set(false);
    }
}

impl SharedLine {
    /// The input `gsi` of `chip`.
    pub fn new(chip: Arc<dyn IrqChip>, gsi: u32) -> Self {
        Self(Arc::new(Wire { chip, gsi, holders: Mutex::new(0) }))
    }

    /// One more device's end of the line.
    pub fn share(&self) -> IrqLine {
        IrqLine { wire: Arc::clone(&self.0), high: AtomicBool::new(false) }
    }
}

impl fmt::Debug for IrqLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IrqLine({})", self.wire.gsi)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::irq::Msi;

    #[derive(Default)]
    struct Recorder(Mutex<Vec<(u32, bool)>>);

    impl IrqChip for Recorder {
        fn set_line(&self, gsi: u32, high: bool) {
            self.0.lock().unwrap().push((gsi, high));
        }
        fn send_msi(&self, _: Msi) {}
    }

    #[test]
    fn a_shared_line_is_high_while_any_holder_is() {
        let chip = Arc::new(Recorder::default());
        let line = SharedLine::new(chip.clone(), 16);
        let (one, two) = (line.share(), line.share());
        one.set(true);
        two.set(true);
        two.set(true);
        one.set(false);
        assert_eq!(*chip.0.lock().unwrap(), [(16, true)]);
        drop(two);
        assert_eq!(*chip.0.lock().unwrap(), [(16, true), (16, false)]);
    }

    #[test]
    fn a_pulse_is_an_edge() {
        let chip = Arc::new(Recorder::default());
        IrqLine::new(chip.clone(), 4).pulse();
        assert_eq!(*chip.0.lock().unwrap(), [(4, true), (4, false)]);
    }
}
