//! The ACPI fixed hardware: PM1 event and control blocks, PM timer, reset register (ACPI 6.5, 4.8).

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::PowerEvents;
use crate::{bus::BusDevice, device::Device, irq::IrqLine};

/// Offset of PM1a_EVT_BLK in the window: status, then enable, 2 bytes each.
pub const EVENT_BLOCK: u64 = 0x00;
/// Offset of PM1a_CNT_BLK, 2 bytes.
pub const CONTROL_BLOCK: u64 = 0x04;
/// Offset of PM_TMR_BLK, 4 bytes; all 32 bits count (FADT flag TMR_VAL_EXT).
pub const TIMER_BLOCK: u64 = 0x08;
/// Offset of RESET_REG, 1 byte.
pub const RESET_REGISTER: u64 = 0x10;
/// What the guest stores to RESET_REG (FADT RESET_VALUE).
pub const RESET_VALUE: u8 = 1;
/// SLP_TYPa of the state S5, for the `\_S5` package of the DSDT.
pub const SLP_TYP_S5: u8 = 5;
/// Size of the window in bytes.
pub const WINDOW: u64 = 0x11;
/// Frequency of the PM timer (ACPI 6.5, 4.8.3.3).
pub const TIMER_HZ: u32 = 3_579_545;

const PWRBTN: u16 = 1 << 8;
/// What PM1 enable holds: TMR_EN, GBL_EN, PWRBTN_EN, SLPBTN_EN, RTC_EN. Only the power button ever has a status.
const ENABLES: u16 = 1 | 1 << 5 | PWRBTN | 1 << 9 | 1 << 10;
/// SCI_EN of PM1 control: this machine is always in ACPI mode.
const SCI_EN: u8 = 1;
/// SLP_TYP and SLP_EN as they lie in the upper byte of PM1 control.
const SLP_TYP_SHIFT: u32 = 2;
const SLP_EN: u8 = 1 << 5;

/// The fixed hardware, as one window of [`WINDOW`] bytes.
pub struct AcpiPower {
    registers: Mutex<Registers>,
    events: Arc<dyn PowerEvents>,
    clock: Box<dyn Fn() -> Duration + Send + Sync>,
}

struct Registers {
    status: u16,
    enable: u16,
    sci: IrqLine,
}

impl AcpiPower {
    /// `sci` is the system control interrupt, `clock` the time since the machine's start, which never goes back.
    pub fn new(
        sci: IrqLine,
        events: Arc<dyn PowerEvents>,
        clock: impl Fn() -> Duration + Send + Sync + 'static,
    ) -> Self {
        let registers = Mutex::new(Registers { status: 0, enable: 0, sci });
        Self { registers, events, clock: Box::new(clock) }
    }

    /// Presses the power button. Says whether the guest's operating system listens to it; where it does not,
    /// nothing happens until it does.
    pub fn press_power_button(&self) -> bool {
        let mut registers = self.registers();
        registers.status |= PWRBTN;
        registers.drive_sci();
        registers.enable & PWRBTN != 0
    }

    fn registers(&self) -> MutexGuard<'_, Registers> {
        self.registers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ticks since the machine's start, little-endian; the register shows the lower 4 bytes.
    fn timer(&self) -> [u8; 16] {
        let ticks = (self.clock)().as_nanos() * u128::from(TIMER_HZ) / 1_000_000_000;
        ticks.to_le_bytes()
    }

    /// The whole window as the guest sees it now, so that a load of any width is of one moment.
    fn image(&self) -> [u8; 0x11] {
        let mut image = [0xff; 0x11];
        let registers = self.registers();
        image[0x0..0x2].copy_from_slice(&registers.status.to_le_bytes());
        image[0x2..0x4].copy_from_slice(&registers.enable.to_le_bytes());
        image[0x4..0x6].copy_from_slice(&[SCI_EN, 0]);
        image[0x8..0xc].copy_from_slice(&self.timer()[..4]);
        image
    }

    fn write_byte(&self, offset: u64, value: u8) {
        let low = u16::from(value);
        let mut registers = self.registers();
        match offset {
            // A one clears a status bit.
            0x0 => registers.status &= !low,
            0x1 => registers.status &= !(low << 8),
            0x2 => registers.enable = (registers.enable & 0xff00 | low) & ENABLES,
            0x3 => registers.enable = (registers.enable & 0x00ff | low << 8) & ENABLES,
            0x5 if value & SLP_EN != 0 && value >> SLP_TYP_SHIFT & 7 == SLP_TYP_S5 => self.events.power_off(),
            RESET_REGISTER if value == RESET_VALUE => self.events.reset(),
            _ => {}
        }
        registers.drive_sci();
    }
}

impl Registers {
    fn drive_sci(&self) {
        self.sci.set(self.status & self.enable != 0);
    }
}

impl BusDevice for AcpiPower {
    fn read(&self, offset: u64, data: &mut [u8]) {
        let image = self.image();
        super::read_bytes(offset, data, |offset| {
            usize::try_from(offset).ok().and_then(|offset| image.get(offset)).copied().unwrap_or(0xff)
        });
    }

    fn write(&self, offset: u64, data: &[u8]) {
        super::write_bytes(offset, data, |offset, value| self.write_byte(offset, value));
    }
}

impl Device for AcpiPower {
    fn name(&self) -> &str {
        "acpi-power"
    }

    fn reset(&self) {
        let mut registers = self.registers();
        registers.status = 0;
        registers.enable = 0;
        registers.drive_sci();
    }
}

impl fmt::Debug for AcpiPower {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AcpiPower")
    }
}

#[cfg(test)]
mod tests;
