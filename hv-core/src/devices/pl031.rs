//! The `PrimeCell` real-time clock, PL031 (Arm DDI 0224).
//!
//! It counts the seconds since 1970 by the host's clock, shifted by what the guest sets. Its alarm is noticed when the
//! guest next looks at the clock, and not before: nothing here has a timer. A machine that describes it should
//! therefore leave its interrupt out, so that no driver offers to wake the guest by it.

use std::{
    fmt,
    sync::{Mutex, PoisonError},
    time::SystemTime,
};

use super::primecell;
use crate::{bus::BusDevice, device::Device, irq::IrqLine};

/// Size of the window in bytes.
pub const WINDOW: u64 = primecell::WINDOW;

/// `RTCPeriphID0` to 3 (3.3.9).
const PERIPHERAL_ID: [u8; 4] = [0x31, 0x10, 0x04, 0x00];

/// Data, match, load.
const DR: u64 = 0x00;
const MR: u64 = 0x04;
const LR: u64 = 0x08;
/// Control: the clock runs.
const CR: u64 = 0x0c;
const IMSC: u64 = 0x10;
const RIS: u64 = 0x14;
const MIS: u64 = 0x18;
const ICR: u64 = 0x1c;

/// The clock, as one window of [`WINDOW`] bytes.
pub struct Pl031 {
    registers: Mutex<Registers>,
    clock: Box<dyn Fn() -> SystemTime + Send + Sync>,
}

struct Registers {
    line: IrqLine,
    /// Seconds that the guest's time is ahead of the host's.
    ahead: u32,
    /// The guest's time when it last looked.
    seen: u32,
    matching: u32,
    load: u32,
    mask: bool,
    raw: bool,
}

impl Pl031 {
    /// A clock that follows `clock` and interrupts by `line` (RTCINTR).
    pub fn new(line: IrqLine, clock: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        let mut registers =
            Registers { line, ahead: 0, seen: 0, matching: 0, load: 0, mask: false, raw: false };
        registers.seen = seconds(clock());
        Self { registers: Mutex::new(registers), clock: Box::new(clock) }
    }

    /// One access at the present moment; the line follows it.
    fn access<T>(&self, access: impl FnOnce(&mut Registers, u32) -> T) -> T {
        let host = seconds((self.clock)());
        let mut registers = self.registers.lock().unwrap_or_else(PoisonError::into_inner);
        registers.pass(host);
        let answer = access(&mut registers, host);
        registers.line.set(registers.raw && registers.mask);
        answer
    }
}

impl Registers {
    /// Time has gone on until now. The counter passed the match register if that is one of the seconds since.
    fn pass(&mut self, host: u32) {
        let now = host.wrapping_add(self.ahead);
        let passed = now.wrapping_sub(self.seen);
        // A clock of the host's that was set back has passed nothing.
        if passed <= u32::MAX / 2 {
            let distance = self.matching.wrapping_sub(self.seen);
            self.raw |= (1..=passed).contains(&distance);
        }
        self.seen = now;
    }

    fn read(&self, offset: u64) -> u32 {
        match offset {
            DR => self.seen,
            MR => self.matching,
            LR => self.load,
            // It runs from power-on, as with a battery, and cannot be stopped.
            CR => 1,
            IMSC => self.mask.into(),
            RIS => self.raw.into(),
            MIS => (self.raw && self.mask).into(),
            _ => primecell::identification(offset, PERIPHERAL_ID),
        }
    }

    fn write(&mut self, host: u32, offset: u64, value: u32) {
        match offset {
            MR => self.matching = value,
            LR => {
                self.load = value;
                self.ahead = value.wrapping_sub(host);
                self.seen = value;
            }
            IMSC => self.mask = value & 1 != 0,
            ICR if value & 1 != 0 => self.raw = false,
            _ => {}
        }
        // The comparator sees equality, too, that a store brings about.
        if matches!(offset, MR | LR) && self.matching == self.seen {
            self.raw = true;
        }
    }
}

/// Seconds since 1970, of which the counter holds the lower 32 bits.
fn seconds(time: SystemTime) -> u32 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let [a, b, c, d, ..] = since.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

impl BusDevice for Pl031 {
    fn read(&self, offset: u64, data: &mut [u8]) {
        self.access(|registers, _| primecell::read(offset, data, |offset| registers.read(offset)));
    }

    fn write(&self, offset: u64, data: &[u8]) {
        if let Some(value) = primecell::stored(offset, data) {
            self.access(|registers, host| registers.write(host, offset, value));
        }
    }
}

impl Device for Pl031 {
    fn name(&self) -> &str {
        "pl031"
    }

    /// A battery keeps the time; the alarm is off.
    fn reset(&self) {
        self.access(|registers, _| {
            registers.matching = 0;
            registers.load = 0;
            registers.mask = false;
            registers.raw = false;
        });
    }
}

impl fmt::Debug for Pl031 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pl031")
    }
}

#[cfg(test)]
mod tests;
