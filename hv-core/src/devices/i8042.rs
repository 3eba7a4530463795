//! The part of the i8042 keyboard controller by which a PC is reset.
//!
//! There is no keyboard and no mouse behind it. Every command that promises an answer gets one at once, so that a
//! guest that probes the controller never waits for a time-out.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::PowerEvents;
use crate::{bus::BusDevice, device::Device};

/// First port of the window. The ports between data and command (0x61 is the NMI status) are not this device's and
/// read as ones.
pub const BASE: u64 = 0x60;
/// Size of the window in ports.
pub const WINDOW: u64 = 5;

const DATA: u64 = 0;
const COMMAND: u64 = 4;

/// Status bits: output buffer full, system flag (self-test passed), keyboard not locked, transmit time-out.
const OUTPUT_FULL: u8 = 1;
const SYSTEM_FLAG: u8 = 1 << 2;
const UNLOCKED: u8 = 1 << 4;
const TIME_OUT: u8 = 1 << 6;

/// The command byte at power-on: system flag, both ports disabled.
const COMMAND_BYTE: u8 = 0x34;
/// The output port: A20 open, reset line inactive.
const OUTPUT_PORT: u8 = 0x03;
/// The input port: keyboard not locked.
const INPUT_PORT: u8 = 0x80;
/// Bit of the output port, and of the pulse commands, that resets the processor while it is low.
const RESET_LINE: u8 = 1;

/// The controller, as one window of [`WINDOW`] ports from [`BASE`].
pub struct I8042 {
    registers: Mutex<Registers>,
    events: Arc<dyn PowerEvents>,
}

struct Registers {
    command_byte: u8,
    answer: Option<Answer>,
    expected: Expected,
}

struct Answer {
    data: u8,
    status: u8,
}

/// What the next byte to the data port is.
enum Expected {
    /// For the keyboard.
    Keyboard,
    /// The new command byte.
    CommandByte,
    /// The new output port.
    OutputPort,
    /// Of a command that has no effect here.
    Ignored,
}

impl I8042 {
    /// The controller at power-on.
    pub fn new(events: Arc<dyn PowerEvents>) -> Self {
        Self { registers: Mutex::new(Registers::power_on()), events }
    }

    fn registers(&self) -> MutexGuard<'_, Registers> {
        self.registers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read_byte(&self, offset: u64) -> u8 {
        let mut registers = self.registers();
        match offset {
            DATA => registers.answer.take().map_or(0, |answer| answer.data),
            COMMAND => registers.answer.as_ref().map_or(0, |answer| answer.status) | SYSTEM_FLAG | UNLOCKED,
            _ => 0xff,
        }
    }

    fn write_byte(&self, offset: u64, value: u8) {
        let mut registers = self.registers();
        let reset = match offset {
            DATA => registers.write_data(value),
            COMMAND => registers.command(value),
            _ => false,
        };
        if reset {
            self.events.reset();
        }
    }
}

impl Registers {
    fn power_on() -> Self {
        Self { command_byte: COMMAND_BYTE, answer: None, expected: Expected::Keyboard }
    }

    /// Says whether the write resets the machine.
    fn write_data(&mut self, value: u8) -> bool {
        match std::mem::replace(&mut self.expected, Expected::Keyboard) {
            // As a controller whose keyboard does not answer: "resend", by time-out.
            Expected::Keyboard => self.answer = Some(Answer { data: 0xfe, status: OUTPUT_FULL | TIME_OUT }),
            Expected::CommandByte => self.command_byte = value,
            Expected::OutputPort => return value & RESET_LINE == 0,
            Expected::Ignored => {}
        }
        false
    }

    /// Says whether the command resets the machine.
    fn command(&mut self, command: u8) -> bool {
        self.expected = match command {
            0x60 => Expected::CommandByte,
            0xd1 => Expected::OutputPort,
            // The keyboard's and the mouse's output buffer, and the mouse itself.
            0xd2..=0xd4 => Expected::Ignored,
            _ => Expected::Keyboard,
        };
        let answer = match command {
            0x20 => self.command_byte,
            // The self-test passes; the mouse port is stuck (there is none); the keyboard port is sound.
            0xaa => 0x55,
            0xa9 => 0x01,
            0xab => 0x00,
            0xc0 => INPUT_PORT,
            0xd0 => OUTPUT_PORT,
            // Pulse the lines of the output port whose bits are 0.
            0xf0.. => return command & RESET_LINE == 0,
            _ => return false,
        };
        self.answer = Some(Answer { data: answer, status: OUTPUT_FULL });
        false
    }
}

impl BusDevice for I8042 {
    fn read(&self, offset: u64, data: &mut [u8]) {
        super::read_bytes(offset, data, |offset| self.read_byte(offset));
    }

    fn write(&self, offset: u64, data: &[u8]) {
        super::write_bytes(offset, data, |offset, value| self.write_byte(offset, value));
    }
}

impl Device for I8042 {
    fn name(&self) -> &str {
        "i8042"
    }

    fn reset(&self) {
        *self.registers() = Registers::power_on();
    }
}

impl fmt::Debug for I8042 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("I8042")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::devices::testing::{PowerCounter, accesses, play};

    fn device() -> (I8042, Arc<PowerCounter>) {
        let power = Arc::new(PowerCounter::default());
        (I8042::new(power.clone()), power)
    }

    fn read(device: &I8042, offset: u64) -> u8 {
        let mut data = [0];
        device.read(offset, &mut data);
        data[0]
    }

    #[test]
    fn pulsing_the_reset_line_resets() {
        let (device, power) = device();
        device.write(COMMAND, &[0xff]);
        assert_eq!(power.counts(), (0, 0));
        device.write(COMMAND, &[0xfe]);
        device.write(COMMAND, &[0xf0]);
        assert_eq!(power.counts(), (0, 2));
    }

    #[test]
    fn the_output_port_resets() {
        let (device, power) = device();
        device.write(COMMAND, &[0xd1]);
        device.write(DATA, &[0x03]);
        assert_eq!(power.counts(), (0, 0));
        device.write(COMMAND, &[0xd1]);
        device.write(DATA, &[0xfe]);
        assert_eq!(power.counts(), (0, 1));
    }

    #[test]
    fn a_probe_is_answered_at_once_and_the_buffer_runs_empty() {
        let (device, _) = device();
        assert_eq!(read(&device, COMMAND) & 3, 0, "nothing waits, nothing is busy");
        for (command, answer) in [(0xaa, 0x55), (0x20, COMMAND_BYTE), (0xab, 0), (0xa9, 1)] {
            device.write(COMMAND, &[command]);
            assert_eq!(read(&device, COMMAND) & OUTPUT_FULL, OUTPUT_FULL);
            assert_eq!(read(&device, DATA), answer, "command {command:#x}");
            assert_eq!(read(&device, COMMAND) & OUTPUT_FULL, 0);
        }
        device.write(DATA, &[0xf2]);
        assert_eq!(read(&device, COMMAND) & (OUTPUT_FULL | TIME_OUT), OUTPUT_FULL | TIME_OUT);
        assert_eq!(read(&device, DATA), 0xfe);
    }

    #[test]
    fn the_command_byte_is_kept_until_reset() {
        let (device, _) = device();
        let command_byte = || {
            device.write(COMMAND, &[0x20]);
            read(&device, DATA)
        };
        device.write(COMMAND, &[0x60]);
        device.write(DATA, &[0x71]);
        assert_eq!(command_byte(), 0x71);
        Device::reset(&device);
        assert_eq!(command_byte(), COMMAND_BYTE);
    }

    proptest! {
        #[test]
        fn any_access_is_answered(accesses in accesses(WINDOW)) {
            play([&device().0, &device().0], &accesses);
        }
    }
}
