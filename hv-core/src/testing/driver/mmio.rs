//! The MMIO transport's registers (VIRTIO 1.2, 4.2.2) as a driver uses them.

use std::sync::Arc;

use super::Registers;
use crate::{
    bus::Bus,
    testing::{RecordingChip, SoftDoorbells},
};

/// A device's window on a bus, with its interrupt line.
#[derive(Debug, Clone)]
pub struct MmioRegisters {
    bus: Arc<Bus>,
    base: u64,
    doorbells: SoftDoorbells,
    chip: Arc<RecordingChip>,
    gsi: u32,
}

impl MmioRegisters {
    /// The window at `base`; doorbells go to `doorbells` first, interrupts come from line `gsi` of `chip`.
    pub fn new(
        bus: Arc<Bus>,
        base: u64,
        doorbells: SoftDoorbells,
        chip: Arc<RecordingChip>,
        gsi: u32,
    ) -> Self {
        Self { bus, base, doorbells, chip, gsi }
    }

    /// A load of a register.
    pub fn load(&self, offset: u64) -> u32 {
        let mut data = [0; 4];
        self.bus.read(self.base + offset, &mut data);
        u32::from_le_bytes(data)
    }

    /// A store to a register.
    pub fn store(&self, offset: u64, value: u32) {
        if !self.doorbells.store(self.base + offset, value) {
            self.bus.write(self.base + offset, &value.to_le_bytes());
        }
    }

    fn store_wide(&self, offset: u64, value: u64) {
        self.store(offset, u32::try_from(value & 0xffff_ffff).unwrap());
        self.store(offset + 4, u32::try_from(value >> 32).unwrap());
    }

    /// Waits for interrupt status `bit`, acknowledging all others on the way.
    fn wait(&self, bit: u32) -> bool {
        while self.chip.wait_line(self.gsi) {
            let status = self.load(0x60);
            self.store(0x64, status);
            if status & bit != 0 {
                return true;
            }
        }
        false
    }
}

impl Registers for MmioRegisters {
    fn device_type(&self) -> u16 {
        assert_eq!((self.load(0), self.load(4)), (0x7472_6976, 2), "no virtio-mmio device, version 2");
        self.load(8).try_into().unwrap()
    }

    fn status(&self) -> u8 {
        self.load(0x70).try_into().unwrap()
    }

    fn set_status(&self, status: u8) {
        self.store(0x70, status.into());
    }

    fn device_features(&self) -> u64 {
        let half = |select| {
            self.store(0x14, select);
            u64::from(self.load(0x10))
        };
        half(0) | half(1) << 32
    }

    fn set_driver_features(&self, features: u64) {
        for select in 0..2 {
            self.store(0x24, select);
            self.store(0x20, u32::try_from(features >> (32 * select) & 0xffff_ffff).unwrap());
        }
    }

    fn queue_max_size(&self, queue: u16) -> u16 {
        self.store(0x30, queue.into());
        self.load(0x34).try_into().unwrap()
    }

    fn set_up_queue(&self, queue: u16, size: u16, [descriptors, available, used]: [u64; 3]) {
        self.store(0x30, queue.into());
        self.store(0x38, size.into());
        self.store_wide(0x80, descriptors);
        self.store_wide(0x90, available);
        self.store_wide(0xa0, used);
        self.store(0x44, 1);
    }

    fn queue_enabled(&self, queue: u16) -> bool {
        self.store(0x30, queue.into());
        self.load(0x44) == 1
    }

    fn notify(&self, queue: u16) {
        self.store(0x50, queue.into());
    }

    fn read_config(&self, offset: usize, data: &mut [u8]) {
        for (address, byte) in (self.base + 0x100 + offset as u64..).zip(data) {
            self.bus.read(address, std::slice::from_mut(byte));
        }
    }

    fn write_config(&self, offset: usize, data: &[u8]) {
        for (address, byte) in (self.base + 0x100 + offset as u64..).zip(data) {
            self.bus.write(address, &[*byte]);
        }
    }

    fn config_generation(&self) -> u32 {
        self.load(0xfc)
    }

    fn wait_queue_interrupt(&self, _: u16) -> bool {
        self.wait(1)
    }

    fn wait_config_interrupt(&self) -> bool {
        self.wait(2)
    }
}
