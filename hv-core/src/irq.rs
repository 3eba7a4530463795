//! Interrupts as devices hold them: a line to raise, a message to send.

mod line;

pub use line::{IrqLine, SharedLine};

/// An interrupt controller, as a backend provides it. Any thread, any time.
pub trait IrqChip: Send + Sync {
    /// Sets the level of line `gsi` (x86: IOAPIC pin, Arm: SPI number, which is the INTID less 32).
    fn set_line(&self, gsi: u32, high: bool);
    /// Delivers a message-signalled interrupt.
    fn send_msi(&self, message: Msi);
}

/// A message-signalled interrupt (PCI Local Bus 3.0, 6.8.1): a store that the interrupt controller takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Msi {
    /// Where the message is stored.
    pub address: u64,
    /// What is stored.
    pub data: u32,
}
