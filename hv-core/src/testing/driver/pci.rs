//! The PCI transport's registers (VIRTIO 1.2, 4.1) as a driver uses them: found through configuration space.

use std::sync::Arc;

use super::Registers;
use crate::{
    bus::Bus,
    irq::Msi,
    testing::{RecordingChip, SoftDoorbells},
};

/// Which interrupts a driver uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interrupts {
    /// MSI-X: vector 0 for the configuration, 1 + n for queue n.
    Msix,
    /// INTA#, on this line of the chip.
    Line(u32),
}

/// A function of bus 0, found through the ECAM window.
#[derive(Debug, Clone)]
pub struct PciRegisters {
    bus: Arc<Bus>,
    doorbells: SoftDoorbells,
    chip: Arc<RecordingChip>,
    interrupts: Interrupts,
    /// The function's configuration space.
    config: u64,
    /// Guest-physical addresses of the structures.
    common: u64,
    isr: u64,
    device: u64,
    notify: u64,
    notify_stride: u64,
    msix_table: u64,
    /// Where the MSI-X capability is in configuration space.
    msix: u64,
}

/// `VIRTIO_MSI_NO_VECTOR`.
const NO_VECTOR: u16 = 0xffff;

impl PciRegisters {
    /// Device `number` of the segment at `ecam`; enables its memory, bus mastering and interrupts.
    ///
    /// # Panics
    /// It is no virtio device, or a capability is missing.
    pub fn new(
        bus: Arc<Bus>,
        ecam: u64,
        number: u8,
        doorbells: SoftDoorbells,
        chip: Arc<RecordingChip>,
        interrupts: Interrupts,
    ) -> Self {
        let config = ecam + (u64::from(number) << 15);
        let [common, isr, device, notify] = [0; 4];
        let mut it = Self {
            bus,
            doorbells,
            chip,
            interrupts,
            config,
            common,
            isr,
            device,
            notify,
            notify_stride: 0,
            msix_table: 0,
            msix: 0,
        };
        assert_eq!(it.load16(config), 0x1af4, "no virtio device");
        it.find_structures();
        it.enable();
        it
    }

    fn find_structures(&mut self) {
        for (id, at) in self.capabilities() {
            match (id, self.load8(at + 3)) {
                (0x09, 1) => self.common = self.structure(at),
                (0x09, 2) => {
                    self.notify = self.structure(at);
                    self.notify_stride = self.load32(at + 16).into();
                }
                (0x09, 3) => self.isr = self.structure(at),
                (0x09, 4) => self.device = self.structure(at),
                (0x11, _) => {
                    let place = self.load32(at + 4);
                    self.msix_table = self.bar(place & 7) + u64::from(place & !7);
                    self.msix = at;
                }
                _ => {}
            }
        }
        let found = [self.common, self.notify, self.isr, self.device, self.msix];
        assert!(found.iter().all(|place| *place != 0), "a capability is missing: {found:x?}");
    }

    /// Ids and addresses of all capabilities.
    pub fn capabilities(&self) -> Vec<(u8, u64)> {
        let mut found = Vec::new();
        let mut at = self.load8(self.config + 0x34);
        while at != 0 {
            assert!(found.len() < 48, "capabilities are a loop");
            let address = self.config + u64::from(at);
            found.push((self.load8(address), address));
            at = self.load8(address + 1);
        }
        found
    }

    fn structure(&self, capability: u64) -> u64 {
        self.bar(self.load8(capability + 4).into()) + u64::from(self.load32(capability + 8))
    }

    /// Where BAR `index` is.
    pub fn bar(&self, index: u32) -> u64 {
        let at = self.config + 0x10 + u64::from(index) * 4;
        let low = self.load32(at);
        let high = if low & 6 == 4 { self.load32(at + 4) } else { 0 };
        u64::from(low & !0xf) | u64::from(high) << 32
    }

    /// Moves 64-bit BAR `index`, with decoding off meanwhile, as an operating system does.
    pub fn move_bar(&mut self, index: u32, address: u64) {
        let at = self.config + 0x10 + u64::from(index) * 4;
        self.store16(self.config + 4, 0);
        self.store32(at, u32::try_from(address & 0xffff_ffff).unwrap());
        self.store32(at + 4, u32::try_from(address >> 32).unwrap());
        self.enable();
        self.find_structures();
    }

    fn enable(&self) {
        self.store16(self.config + 4, 6);
        if self.interrupts == Interrupts::Msix {
            let vectors = u64::from(self.load16(self.msix + 2) & 0x7ff) + 1;
            for vector in 0..vectors {
                let entry = self.msix_table + vector * 16;
                let message = message(u16::try_from(vector).unwrap());
                self.store32(entry, u32::try_from(message.address).unwrap());
                self.store32(entry + 4, 0);
                self.store32(entry + 8, message.data);
                self.store32(entry + 12, 0);
            }
            self.store16(self.msix + 2, 1 << 15);
        }
    }

    fn map_vector(&self, register: u64, vector: u16) {
        if self.interrupts == Interrupts::Msix {
            self.store16(self.common + register, vector);
            assert_eq!(self.load16(self.common + register), vector, "device refused vector {vector}");
        } else {
            assert_eq!(self.load16(self.common + register), NO_VECTOR);
        }
    }

    fn wait(&self, vector: u16, bit: u8) -> bool {
        let Interrupts::Line(gsi) = self.interrupts else { return self.chip.wait_msi(message(vector)) };
        while self.chip.wait_line(gsi) {
            if self.load8(self.isr) & bit != 0 {
                return true;
            }
        }
        false
    }

    fn load<const N: usize>(&self, address: u64) -> [u8; N] {
        let mut data = [0; N];
        self.bus.read(address, &mut data);
        data
    }

    fn load8(&self, address: u64) -> u8 {
        self.load::<1>(address)[0]
    }

    fn load16(&self, address: u64) -> u16 {
        u16::from_le_bytes(self.load(address))
    }

    fn load32(&self, address: u64) -> u32 {
        u32::from_le_bytes(self.load(address))
    }

    fn store16(&self, address: u64, value: u16) {
        self.bus.write(address, &value.to_le_bytes());
    }

    fn store32(&self, address: u64, value: u32) {
        self.bus.write(address, &value.to_le_bytes());
    }

    fn select_queue(&self, queue: u16) {
        self.store16(self.common + 0x16, queue);
    }
}

/// What the driver has vector `vector` send.
fn message(vector: u16) -> Msi {
    Msi { address: 0xfee0_0000, data: 0x40 + u32::from(vector) }
}

impl Registers for PciRegisters {
    fn device_type(&self) -> u16 {
        self.load16(self.config + 2) - 0x1040
    }

    fn status(&self) -> u8 {
        self.load8(self.common + 0x14)
    }

    fn set_status(&self, status: u8) {
        self.bus.write(self.common + 0x14, &[status]);
        if status == 1 {
            // The device's reset unmapped it.
            self.map_vector(0x10, 0);
        }
    }

    fn device_features(&self) -> u64 {
        let half = |select| {
            self.store32(self.common, select);
            u64::from(self.load32(self.common + 4))
        };
        half(0) | half(1) << 32
    }

    fn set_driver_features(&self, features: u64) {
        for select in 0..2 {
            self.store32(self.common + 8, select);
            self.store32(self.common + 0xc, u32::try_from(features >> (32 * select) & 0xffff_ffff).unwrap());
        }
    }

    fn queue_max_size(&self, queue: u16) -> u16 {
        self.select_queue(queue);
        self.load16(self.common + 0x18)
    }

    fn set_up_queue(&self, queue: u16, size: u16, addresses: [u64; 3]) {
        self.select_queue(queue);
        self.store16(self.common + 0x18, size);
        for (at, address) in (self.common + 0x20..).step_by(8).zip(addresses) {
            self.store32(at, u32::try_from(address & 0xffff_ffff).unwrap());
            self.store32(at + 4, u32::try_from(address >> 32).unwrap());
        }
        self.map_vector(0x1a, queue + 1);
        self.store16(self.common + 0x1c, 1);
    }

    fn queue_enabled(&self, queue: u16) -> bool {
        self.select_queue(queue);
        self.load16(self.common + 0x1c) == 1
    }

    fn notify(&self, queue: u16) {
        self.select_queue(queue);
        let at = self.notify + u64::from(self.load16(self.common + 0x1e)) * self.notify_stride;
        if !self.doorbells.store(at, queue.into()) {
            self.store16(at, queue);
        }
    }

    fn read_config(&self, offset: usize, data: &mut [u8]) {
        for (address, byte) in (self.device + offset as u64..).zip(data) {
            *byte = self.load8(address);
        }
    }

    fn write_config(&self, offset: usize, data: &[u8]) {
        for (address, byte) in (self.device + offset as u64..).zip(data) {
            self.bus.write(address, &[*byte]);
        }
    }

    fn config_generation(&self) -> u32 {
        self.load8(self.common + 0x15).into()
    }

    fn wait_queue_interrupt(&self, queue: u16) -> bool {
        self.wait(queue + 1, 1)
    }

    fn wait_config_interrupt(&self) -> bool {
        self.wait(0, 2)
    }
}
