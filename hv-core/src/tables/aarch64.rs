//! What there is to tell of an aarch64 machine, by device tree or by ACPI.

use std::ops::Range;

use crate::arch::aarch64::IrqPlan;

/// An aarch64 machine. Addresses are guest-physical, interrupts are SPI numbers: level, active high.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// RAM, in one block.
    pub ram: Range<u64>,
    /// The affinity fields of each vCPU's `MPIDR_EL1`.
    pub affinities: Vec<u64>,
    /// The interrupt controllers.
    pub irq: IrqPlan,
    /// The PL011.
    pub uart: Window,
    /// Frequency of the PL011's reference clock in Hz.
    pub uart_clock: u32,
    /// The PL031. Its interrupt is not told: its alarm wakes nobody.
    pub clock: Window,
    /// The PL061.
    pub gpio: Window,
    /// The line of the PL061 that is high while the power button is pressed.
    pub power_button: u8,
    /// The PCI segment.
    pub pci: Pci,
    /// The virtio-mmio devices.
    pub virtio_mmio: Vec<Window>,
}

/// A device in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Its first address.
    pub base: u64,
    /// Bytes.
    pub size: u64,
    /// Its interrupt.
    pub spi: u32,
}

/// A PCI segment with one root bridge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pci {
    /// The ECAM window from bus 0 on: 1 MiB per bus.
    pub ecam: Range<u64>,
    /// Where BARs may lie, below 4 GiB.
    pub window: Range<u64>,
    /// The SPI of interrupt pin A in each slot of bus 0, shared.
    pub slot_spis: [u32; 32],
}

impl Pci {
    /// The last bus in the ECAM window.
    pub(super) fn last_bus(&self) -> u8 {
        let buses = self.ecam.end.saturating_sub(self.ecam.start) >> 20;
        u8::try_from(buses.saturating_sub(1)).unwrap_or(u8::MAX)
    }
}
