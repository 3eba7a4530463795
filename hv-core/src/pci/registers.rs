//! `Registers`: the bytes of a configuration space, which of them a guest may change, and how they start.

/// Bytes of configuration space. Functions of hv have no extended capability, so none has more than these.
pub(super) const SIZE: usize = 256;

/// Offsets of the type 0 header (PCI Local Bus 3.0, 6.1).
pub(super) mod offset {
    pub(in crate::pci) const VENDOR_ID: usize = 0x00;
    pub(in crate::pci) const DEVICE_ID: usize = 0x02;
    pub(in crate::pci) const COMMAND: usize = 0x04;
    pub(in crate::pci) const STATUS: usize = 0x06;
    pub(in crate::pci) const REVISION: usize = 0x08;
    pub(in crate::pci) const CLASS: usize = 0x09;
    pub(in crate::pci) const CACHE_LINE_SIZE: usize = 0x0c;
    pub(in crate::pci) const BAR0: usize = 0x10;
    pub(in crate::pci) const SUBSYSTEM_VENDOR_ID: usize = 0x2c;
    pub(in crate::pci) const SUBSYSTEM_ID: usize = 0x2e;
    pub(in crate::pci) const CAPABILITIES: usize = 0x34;
    pub(in crate::pci) const INTERRUPT_LINE: usize = 0x3c;
    pub(in crate::pci) const INTERRUPT_PIN: usize = 0x3d;
    pub(in crate::pci) const HEADER_END: usize = 0x40;
}

/// Bits of the Command register (6.2.2).
pub(super) mod command {
    pub(in crate::pci) const MEMORY_SPACE: u16 = 1 << 1;
    pub(in crate::pci) const BUS_MASTER: u16 = 1 << 2;
    pub(in crate::pci) const INTERRUPT_DISABLE: u16 = 1 << 10;
}

/// Bits of the Status register (6.2.3).
pub(super) mod status {
    pub(in crate::pci) const INTERRUPT: u16 = 1 << 3;
    pub(in crate::pci) const CAPABILITIES_LIST: u16 = 1 << 4;
}

/// A configuration space.
#[derive(Clone)]
pub(super) struct Registers {
    bytes: [u8; SIZE],
    /// Ones where a store changes the bit.
    writable: [u8; SIZE],
    power_on: [u8; SIZE],
}

impl Registers {
    /// All zeroes and read-only.
    pub(super) fn new() -> Self {
        Self { bytes: [0; SIZE], writable: [0; SIZE], power_on: [0; SIZE] }
    }

    /// Sets what the bytes from `at` are now and at power-on.
    pub(super) fn define(&mut self, at: usize, value: &[u8]) {
        for (offset, byte) in (at..SIZE).zip(value) {
            self.bytes[offset] = *byte;
            self.power_on[offset] = *byte;
        }
    }

    /// Lets a guest change the bits of `mask` from `at`.
    pub(super) fn allow(&mut self, at: usize, mask: &[u8]) {
        for (offset, bits) in (at..SIZE).zip(mask) {
            self.writable[offset] |= bits;
        }
    }

    /// A guest's load. What lies beyond is all ones.
    pub(super) fn read(&self, at: u16, data: &mut [u8]) {
        for (byte, offset) in data.iter_mut().zip(usize::from(at)..) {
            *byte = self.bytes.get(offset).copied().unwrap_or(0xff);
        }
    }

    /// A guest's store. Read-only bits keep their value, what lies beyond is dropped.
    pub(super) fn write(&mut self, at: u16, data: &[u8]) {
        for (offset, byte) in (usize::from(at)..SIZE).zip(data) {
            let mask = self.writable[offset];
            self.bytes[offset] = self.bytes[offset] & !mask | byte & mask;
        }
    }

    /// Back to the state at power-on.
    pub(super) fn reset(&mut self) {
        self.bytes = self.power_on;
    }

    /// The 16-bit register at `at`; `at` is a constant of the header or of a capability that was added.
    pub(super) fn word(&self, at: usize) -> u16 {
        u16::from_le_bytes([self.bytes[at], self.bytes[at + 1]])
    }

    /// The 32-bit register at `at`, which is such a constant too.
    pub(super) fn dword(&self, at: usize) -> u32 {
        u32::from(self.word(at)) | u32::from(self.word(at + 2)) << 16
    }

    /// Sets or clears `bits` of the 16-bit register at `at`, as the function does by itself.
    pub(super) fn set_bits(&mut self, at: usize, bits: u16, set: bool) {
        let value = if set { self.word(at) | bits } else { self.word(at) & !bits };
        self.bytes[at..at + 2].copy_from_slice(&value.to_le_bytes());
    }
}
