//! The 16550A UART.
//!
//! Bytes that the guest transmits reach the sink at once, before the store that sent them is done, so a prompt
//! without a newline is seen. Bytes for the guest wait in a bounded buffer until its receiver has room.

mod registers;

use std::{fmt, io::Write};

use super::uart::{Uart, UartInput};
use crate::{bus::BusDevice, device::Device, irq::IrqLine};
use registers::Registers;

/// Size of the window in ports.
pub const WINDOW: u64 = 8;

/// The UART, as one window of [`WINDOW`] ports (COM1: 0x3f8).
pub struct Uart16550 {
    uart: Uart<Registers>,
}

impl Uart16550 {
    /// A UART that transmits to `sink` and interrupts by `line`.
    pub fn new(line: IrqLine, sink: Box<dyn Write + Send>) -> Self {
        Self { uart: Uart::new(Registers::default(), line, sink) }
    }

    /// The handle by which the guest's input arrives.
    pub fn input(&self) -> UartInput {
        self.uart.input()
    }
}

impl BusDevice for Uart16550 {
    fn read(&self, offset: u64, data: &mut [u8]) {
        self.uart.access(|registers| super::read_bytes(offset, data, |offset| registers.read(offset)));
    }

    fn write(&self, offset: u64, data: &[u8]) {
        let mut transmitted = [0; 8];
        let mut count = 0;
        self.uart.access(|registers| {
            super::write_bytes(offset, data, |offset, value| {
                if let Some(byte) = registers.write(offset, value)
                    && let Some(slot) = transmitted.get_mut(count)
                {
                    *slot = byte;
                    count += 1;
                }
            });
        });
        self.uart.transmit(transmitted.get(..count).unwrap_or_default());
    }
}

impl Device for Uart16550 {
    fn name(&self) -> &str {
        "uart16550"
    }

    /// Input that the guest has not yet received still waits for the next one.
    fn reset(&self) {
        self.uart.access(Registers::reset);
    }
}

impl fmt::Debug for Uart16550 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Uart16550")
    }
}

#[cfg(test)]
mod tests;
