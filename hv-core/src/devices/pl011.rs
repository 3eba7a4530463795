//! The `PrimeCell` UART, PL011 (Arm DDI 0183, r1p5).
//!
//! Bytes that the guest transmits reach the sink at once, before the store that sent them is done. Bytes for the guest
//! wait in a bounded buffer until its receiver has room. There is no DMA and no infrared.

mod registers;

use std::{fmt, io::Write};

use super::{
    primecell,
    uart::{Uart, UartInput},
};
use crate::{bus::BusDevice, device::Device, irq::IrqLine};
use registers::Registers;

/// Size of the window in bytes.
pub const WINDOW: u64 = primecell::WINDOW;
/// Frequency of the reference clock UARTCLK that the guest should be told, in Hz: enough for every usual rate
/// (DDI 0183, 2.4.1). Nothing here depends on it.
pub const CLOCK_HZ: u32 = 24_000_000;

/// The UART, as one window of [`WINDOW`] bytes.
pub struct Pl011 {
    uart: Uart<Registers>,
}

impl Pl011 {
    /// A UART that transmits to `sink` and interrupts by `line` (UARTINTR, high while an interrupt is pending).
    pub fn new(line: IrqLine, sink: Box<dyn Write + Send>) -> Self {
        Self { uart: Uart::new(Registers::default(), line, sink) }
    }

    /// The handle by which the guest's input arrives.
    pub fn input(&self) -> UartInput {
        self.uart.input()
    }
}

impl BusDevice for Pl011 {
    fn read(&self, offset: u64, data: &mut [u8]) {
        self.uart.access(|registers| primecell::read(offset, data, |offset| registers.read(offset)));
    }

    fn write(&self, offset: u64, data: &[u8]) {
        if let Some(value) = primecell::stored(offset, data)
            && let Some(byte) = self.uart.access(|registers| registers.write(offset, value))
        {
            self.uart.transmit(&[byte]);
        }
    }
}

impl Device for Pl011 {
    fn name(&self) -> &str {
        "pl011"
    }

    /// Input that the guest has not yet received still waits for the next one.
    fn reset(&self) {
        self.uart.access(Registers::reset);
    }
}

impl fmt::Debug for Pl011 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pl011")
    }
}

#[cfg(test)]
mod tests;
