//! The host's side of the segment: the host bridge at 00:00.0 and the two ways to configuration space.

use std::sync::{Arc, atomic::Ordering};

use super::{Address, Function, Identity, PciDevice, Segment};
use crate::{bus::BusDevice, device::Device};

/// A bridge without registers of its own; guests look for its class code. The numbers stand for no real
/// chipset, so that no guest applies a chipset's quirks.
const HOST_BRIDGE: Identity = Identity {
    vendor: 0x8086,
    device: 0x0d57,
    revision: 0,
    class: 0x06_00_00,
    subsystem_vendor: 0,
    subsystem: 0,
};

/// Bits of `CONFIG_ADDRESS` that exist (PCI Local Bus 3.0, 3.2.2.3.2).
const CONFIG_ADDRESS_BITS: u32 = 0x80ff_fffc;

/// Device 0.
pub(super) struct HostBridge(Function);

/// Configuration space as memory (PCI Express Base 3.0, 7.2.2), for bus 0.
pub struct Ecam(Arc<Segment>);

/// Configuration space by the x86 I/O ports `CONFIG_ADDRESS` (0xcf8) and `CONFIG_DATA` (0xcfc), eight bytes
/// in all (PCI Local Bus 3.0, 3.2.2.3.2).
pub struct ConfigPorts(Arc<Segment>);

impl HostBridge {
    pub(super) fn new() -> Self {
        Self(Function::builder(HOST_BRIDGE).build())
    }
}

impl Device for HostBridge {
    fn name(&self) -> &str {
        "host bridge"
    }

    fn reset(&self) {}
}

impl PciDevice for HostBridge {
    fn function(&self) -> &Function {
        &self.0
    }

    fn read_bar(&self, _: u8, _: u64, data: &mut [u8]) {
        data.fill(0xff);
    }

    fn write_bar(&self, _: u8, _: u64, _: &[u8]) {}
}

impl Ecam {
    /// Bytes of the window: 4 KiB for each function of bus 0.
    pub const SIZE: u64 = 1 << 20;

    /// The window of `segment`.
    pub fn new(segment: Arc<Segment>) -> Self {
        Self(segment)
    }
}

impl BusDevice for Ecam {
    fn read(&self, offset: u64, data: &mut [u8]) {
        match Address::from_ecam(offset) {
            Some((address, register)) => self.0.read_config(address, register, data),
            None => data.fill(0xff),
        }
    }

    fn write(&self, offset: u64, data: &[u8]) {
        if let Some((address, register)) = Address::from_ecam(offset) {
            self.0.write_config(address, register, data);
        }
    }
}

impl ConfigPorts {
    /// How many ports there are.
    pub const SIZE: u64 = 8;

    /// The ports of `segment`.
    pub fn new(segment: Arc<Segment>) -> Self {
        Self(segment)
    }

    /// What an access of `size` bytes to `CONFIG_DATA` at `offset` from 0xcf8 means.
    fn target(&self, offset: u64, size: usize) -> Option<(Address, u16)> {
        let within = offset.checked_sub(4).filter(|within| *within < 4 && size as u64 <= 4 - within)?;
        let latch = self.0.config_address.load(Ordering::Relaxed);
        let (address, register) = Address::from_config_address(latch)?;
        Some((address, register | u16::try_from(within).ok()?))
    }
}

/// `CONFIG_ADDRESS` takes accesses of four bytes alone, `CONFIG_DATA` all that lie within its four ports.
impl BusDevice for ConfigPorts {
    fn read(&self, offset: u64, data: &mut [u8]) {
        if offset == 0 && data.len() == 4 {
            data.copy_from_slice(&self.0.config_address.load(Ordering::Relaxed).to_le_bytes());
        } else if let Some((address, register)) = self.target(offset, data.len()) {
            self.0.read_config(address, register, data);
        } else {
            data.fill(0xff);
        }
    }

    fn write(&self, offset: u64, data: &[u8]) {
        if let (0, Ok(latch)) = (offset, <[u8; 4]>::try_from(data)) {
            let latch = u32::from_le_bytes(latch) & CONFIG_ADDRESS_BITS;
            self.0.config_address.store(latch, Ordering::Relaxed);
        } else if let Some((address, register)) = self.target(offset, data.len()) {
            self.0.write_config(address, register, data);
        }
    }
}
