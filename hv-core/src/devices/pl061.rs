//! The `PrimeCell` GPIO, PL061 (Arm DDI 0190), with the power button on one of its lines.
//!
//! The button's line is high from a press until the guest has seen it, and then low again by itself, so that a driver
//! that waits for the line to settle before it looks, as Linux's gpio-keys does, finds both the press and the release.

mod registers;

use std::{
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::primecell;
use crate::{bus::BusDevice, device::Device, irq::IrqLine};
use registers::Registers;

/// Size of the window in bytes.
pub const WINDOW: u64 = primecell::WINDOW;
/// Number of the line that the power button drives, high while it is pressed. No other line is connected.
pub const POWER_BUTTON: u8 = 3;

/// The GPIO, as one window of [`WINDOW`] bytes.
pub struct Pl061 {
    port: Mutex<Port>,
}

struct Port {
    registers: Registers,
    line: IrqLine,
}

impl Pl061 {
    /// A GPIO that interrupts by `line` (GPIOINTR, high while an interrupt is pending).
    pub fn new(line: IrqLine) -> Self {
        Self { port: Mutex::new(Port { registers: Registers::default(), line }) }
    }

    /// Presses the power button; it comes up when the guest has seen it. Says whether the guest listens to it, which
    /// is whether it enabled the line's interrupt; where it does not, the button stays down until it looks.
    pub fn press_power_button(&self) -> bool {
        let mut port = self.port();
        // A button that still is down comes up first: each press is an edge.
        for level in [false, true] {
            port.registers.set_input(1 << POWER_BUTTON, level);
        }
        port.drive_line();
        port.registers.listens(1 << POWER_BUTTON)
    }

    fn port(&self) -> MutexGuard<'_, Port> {
        self.port.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Port {
    fn drive_line(&self) {
        self.line.set(self.registers.interrupts());
    }
}

impl BusDevice for Pl061 {
    fn read(&self, offset: u64, data: &mut [u8]) {
        let mut port = self.port();
        primecell::read(offset, data, |offset| {
            let value = port.registers.read(offset);
            if registers::shows(offset, 1 << POWER_BUTTON) && port.registers.is_input(1 << POWER_BUTTON) {
                port.registers.set_input(1 << POWER_BUTTON, false);
            }
            value
        });
        port.drive_line();
    }

    fn write(&self, offset: u64, data: &[u8]) {
        let Some(value) = primecell::stored(offset, data) else { return };
        let mut port = self.port();
        let [value, ..] = value.to_le_bytes();
        // A guest that has no use for the release may never look at the line: to acknowledge is to have seen.
        if port.registers.acknowledges(offset, value, 1 << POWER_BUTTON) {
            port.registers.set_input(1 << POWER_BUTTON, false);
        }
        port.registers.write(offset, value);
        port.drive_line();
    }
}

impl Device for Pl061 {
    fn name(&self) -> &str {
        "pl061"
    }

    /// A button that is down comes up.
    fn reset(&self) {
        let mut port = self.port();
        port.registers = Registers::default();
        port.drive_line();
    }
}

impl fmt::Debug for Pl061 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pl061")
    }
}

#[cfg(test)]
mod tests;
