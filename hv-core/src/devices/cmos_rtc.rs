//! The MC146818 real-time clock with its CMOS RAM.
//!
//! It tells the host's time in UTC, shifted by what the guest sets. There are no alarm, periodic or update
//! interrupts. (Motorola MC146818A data sheet; the century at 0x32 is where the FADT of this machine says.)

mod calendar;

use std::{
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use crate::{bus::BusDevice, device::Device};
use calendar::DateTime;

/// First port of the window: index, then data.
pub const BASE: u64 = 0x70;
/// Size of the window in ports.
pub const WINDOW: u64 = 2;
/// Index of the century, for the FADT.
pub const CENTURY: u8 = 0x32;

const REGISTER_A: u8 = 0x0a;
const REGISTER_B: u8 = 0x0b;
const REGISTER_C: u8 = 0x0c;
const REGISTER_D: u8 = 0x0d;

/// Register A: update in progress.
const UIP: u8 = 1 << 7;
/// Register A at power-on: 32.768 kHz time base, 1024 Hz periodic rate.
const A_POWER_ON: u8 = 0x26;
/// Register B: no updates while the guest sets the time; interrupt enables; binary, not BCD; 24 hours, not 12.
const SET: u8 = 1 << 7;
const INTERRUPT_ENABLES: u8 = 0x70;
const BINARY: u8 = 1 << 2;
const HOURS_24: u8 = 1 << 1;
/// Hours register with 12 hours: afternoon.
const PM: u8 = 1 << 7;
/// Register D: the battery is good.
const VRT: u8 = 1 << 7;

/// UIP comes this long before the second changes.
const UPDATE_LEAD: Duration = Duration::from_micros(244);

/// The clock, as one window of [`WINDOW`] ports from [`BASE`].
pub struct CmosRtc {
    registers: Mutex<Registers>,
    clock: Box<dyn Fn() -> SystemTime + Send + Sync>,
}

struct Registers {
    index: u8,
    /// All 128 bytes; those of the time and of C and D are not used.
    ram: [u8; 128],
    /// Seconds that the guest's time is ahead of the host's.
    ahead: i64,
    /// The time while SET stops it.
    stopped: Option<DateTime>,
}

impl CmosRtc {
    /// A clock that follows `clock`.
    pub fn new(clock: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        let mut ram = [0; 128];
        ram[usize::from(REGISTER_A)] = A_POWER_ON;
        ram[usize::from(REGISTER_B)] = HOURS_24;
        let registers = Registers { index: 0, ram, ahead: 0, stopped: None };
        Self { registers: Mutex::new(registers), clock: Box::new(clock) }
    }

    fn registers(&self) -> MutexGuard<'_, Registers> {
        self.registers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Host time since 1970.
    fn now(&self) -> Duration {
        (self.clock)().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
    }

    fn read_byte(&self, offset: u64) -> u8 {
        match offset {
            1 => self.registers().read(self.now()),
            _ => 0xff,
        }
    }

    fn write_byte(&self, offset: u64, value: u8) {
        match offset {
            // The uppermost bit masks the NMI on a PC.
            0 => self.registers().index = value & 0x7f,
            1 => self.registers().write(self.now(), value),
            _ => {}
        }
    }
}

impl Registers {
    fn read(&self, now: Duration) -> u8 {
        let stored = self.ram[usize::from(self.index & 0x7f)];
        match self.index {
            REGISTER_A if self.update_in_progress(now) => stored | UIP,
            REGISTER_C => 0,
            REGISTER_D => VRT,
            index => match self.time(now).field(index) {
                Some(field) => self.encode(index, *field),
                None => stored,
            },
        }
    }

    fn write(&mut self, now: Duration, value: u8) {
        let index = self.index;
        let mut time = self.time(now);
        let decoded = self.decode(index, value);
        match index {
            REGISTER_C | REGISTER_D => {}
            REGISTER_A => self.ram[usize::from(REGISTER_A)] = value & !UIP,
            REGISTER_B => {
                self.ram[usize::from(REGISTER_B)] = value;
                self.set_time(now, time);
            }
            _ => match time.field(index) {
                Some(field) => {
                    *field = decoded;
                    self.set_time(now, time);
                }
                None => self.ram[usize::from(index & 0x7f)] = value,
            },
        }
    }

    fn control(&self) -> u8 {
        self.ram[usize::from(REGISTER_B)]
    }

    fn update_in_progress(&self, now: Duration) -> bool {
        let until_next =
            Duration::from_secs(1).saturating_sub(Duration::from_nanos(now.subsec_nanos().into()));
        self.control() & SET == 0 && until_next <= UPDATE_LEAD
    }

    fn time(&self, now: Duration) -> DateTime {
        self.stopped.unwrap_or_else(|| DateTime::from_unix(seconds(now).saturating_add(self.ahead)))
    }

    /// Sets the clock, or what it will be set to when SET falls.
    fn set_time(&mut self, now: Duration, time: DateTime) {
        if self.control() & SET != 0 {
            self.stopped = Some(time);
        } else {
            self.stopped = None;
            self.ahead = time.to_unix().saturating_sub(seconds(now));
        }
    }

    /// A field of the time in the format that register B chooses.
    fn encode(&self, index: u8, field: u8) -> u8 {
        let (field, flag) = match index {
            calendar::HOURS if self.control() & HOURS_24 == 0 => {
                ((field % 12 + 11) % 12 + 1, if field >= 12 { PM } else { 0 })
            }
            _ => (field, 0),
        };
        let digits = if self.control() & BINARY != 0 { field } else { (field / 10) << 4 | (field % 10) };
        digits | flag
    }

    /// The reverse of [`encode`](Self::encode), for any byte.
    fn decode(&self, index: u8, value: u8) -> u8 {
        let twelve_hours = index == calendar::HOURS && self.control() & HOURS_24 == 0;
        let digits = if twelve_hours { value & !PM } else { value };
        let field = if self.control() & BINARY != 0 { digits } else { (digits >> 4) * 10 + (digits & 0xf) };
        match twelve_hours {
            true => field % 12 + if value & PM != 0 { 12 } else { 0 },
            false => field,
        }
    }
}

fn seconds(now: Duration) -> i64 {
    i64::try_from(now.as_secs()).unwrap_or(i64::MAX)
}

impl BusDevice for CmosRtc {
    fn read(&self, offset: u64, data: &mut [u8]) {
        super::read_bytes(offset, data, |offset| self.read_byte(offset));
    }

    fn write(&self, offset: u64, data: &[u8]) {
        super::write_bytes(offset, data, |offset, value| self.write_byte(offset, value));
    }
}

impl Device for CmosRtc {
    fn name(&self) -> &str {
        "cmos-rtc"
    }

    /// A battery keeps the time and the RAM; only the interrupt enables fall.
    fn reset(&self) {
        let mut registers = self.registers();
        registers.index = 0;
        registers.ram[usize::from(REGISTER_B)] &= !INTERRUPT_ENABLES;
    }
}

impl fmt::Debug for CmosRtc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CmosRtc")
    }
}

#[cfg(test)]
mod tests;
