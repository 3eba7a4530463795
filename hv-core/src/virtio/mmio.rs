//! The MMIO transport, version 2 (VIRTIO 1.2, 4.2).

#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, PoisonError};

use super::{
    Endpoint, VirtioDevice,
    endpoint::Surroundings,
    negotiation::{Part, QueueRegisters},
    queue::InterruptSink,
};
use crate::{bus::BusDevice, device::Device, io::Doorbell, irq::IrqLine};

/// Size of a device's window in bytes.
pub const WINDOW_SIZE: u64 = 0x1000;

/// `virt`, little-endian.
const MAGIC: u32 = 0x7472_6976;
const VERSION: u32 = 2;
/// Virtio has no vendor numbers here; 0x1af4 is that of virtio on PCI.
const VENDOR: u32 = 0x1af4;
/// Where device configuration space begins in the window.
const CONFIG: u64 = 0x100;

/// Register offsets (4.2.2, table 4.1).
mod register {
    pub(super) const MAGIC: u64 = 0x00;
    pub(super) const VERSION: u64 = 0x04;
    pub(super) const DEVICE_ID: u64 = 0x08;
    pub(super) const VENDOR_ID: u64 = 0x0c;
    pub(super) const DEVICE_FEATURES: u64 = 0x10;
    pub(super) const DEVICE_FEATURES_SELECT: u64 = 0x14;
    pub(super) const DRIVER_FEATURES: u64 = 0x20;
    pub(super) const DRIVER_FEATURES_SELECT: u64 = 0x24;
    pub(super) const QUEUE_SELECT: u64 = 0x30;
    pub(super) const QUEUE_SIZE_MAX: u64 = 0x34;
    pub(super) const QUEUE_SIZE: u64 = 0x38;
    pub(super) const QUEUE_READY: u64 = 0x44;
    pub(super) const QUEUE_NOTIFY: u64 = 0x50;
    pub(super) const INTERRUPT_STATUS: u64 = 0x60;
    pub(super) const INTERRUPT_ACKNOWLEDGE: u64 = 0x64;
    pub(super) const STATUS: u64 = 0x70;
    pub(super) const QUEUE_DESCRIPTORS: u64 = 0x80;
    pub(super) const QUEUE_AVAILABLE: u64 = 0x90;
    pub(super) const QUEUE_USED: u64 = 0xa0;
    pub(super) const SHARED_MEMORY_LENGTH: u64 = 0xb0;
    pub(super) const SHARED_MEMORY_BASE_HIGH: u64 = 0xbc;
    pub(super) const CONFIG_GENERATION: u64 = 0xfc;
}

/// `InterruptStatus`: buffers were used.
const USED_BUFFER: u32 = 1;
/// `InterruptStatus`: the configuration changed.
const CONFIG_CHANGE: u32 = 2;

/// A virtio device behind a window of registers and one interrupt line.
#[derive(Debug)]
pub struct Mmio {
    endpoint: Endpoint,
    interrupt: Arc<Interrupt>,
}

/// The interrupt status register, and the line that is high while a bit is set.
#[derive(Debug)]
struct Interrupt {
    line: IrqLine,
    /// Held while the line changes, so that both agree.
    status: Mutex<u32>,
}

impl Mmio {
    /// `device` behind the [`WINDOW_SIZE`] bytes at guest-physical `base`, with interrupts on `line`.
    pub fn new(device: Box<dyn VirtioDevice>, surroundings: Surroundings, base: u64, line: IrqLine) -> Self {
        let interrupt = Arc::new(Interrupt { line, status: Mutex::new(0) });
        let address = base.saturating_add(register::QUEUE_NOTIFY);
        let doorbell = move |queue| Some(Doorbell { address, value: Some(u32::from(queue)) });
        let endpoint = Endpoint::new(device, surroundings, interrupt.clone(), Box::new(doorbell));
        Self { endpoint, interrupt }
    }

    fn register(&self, offset: u64) -> u32 {
        let endpoint = &self.endpoint;
        match offset {
            register::MAGIC => MAGIC,
            register::VERSION => VERSION,
            register::DEVICE_ID => endpoint.kind().number().into(),
            register::VENDOR_ID => VENDOR,
            register::DEVICE_FEATURES => endpoint.negotiation(|it| it.device_features()),
            register::QUEUE_SIZE_MAX => self.queue(QueueRegisters::max_size).into(),
            register::QUEUE_READY => self.queue(QueueRegisters::enabled).into(),
            register::INTERRUPT_STATUS => self.interrupt.status(),
            register::STATUS => endpoint.status().into(),
            // No shared memory: its length and base are -1 (4.2.2).
            register::SHARED_MEMORY_LENGTH..=register::SHARED_MEMORY_BASE_HIGH => !0,
            register::CONFIG_GENERATION => endpoint.config_generation(),
            _ => 0,
        }
    }

    /// A register of the selected queue; zero if there is none.
    fn queue<T: Default>(&self, look: impl FnOnce(&QueueRegisters) -> T) -> T {
        self.endpoint.negotiation(|it| it.queue().map(look).unwrap_or_default())
    }

    fn set_register(&self, offset: u64, value: u32) {
        let endpoint = &self.endpoint;
        match offset {
            register::DEVICE_FEATURES_SELECT => endpoint.negotiate(|it| it.device_feature_select = value),
            register::DRIVER_FEATURES_SELECT => endpoint.negotiate(|it| it.driver_feature_select = value),
            register::DRIVER_FEATURES => endpoint.negotiate(|it| it.accept_features(value)),
            // Numbers that no queue can have select none.
            register::QUEUE_SELECT => {
                endpoint.negotiate(|it| it.queue_select = u16::try_from(value).unwrap_or(u16::MAX));
            }
            register::QUEUE_SIZE => {
                endpoint.negotiate(|it| it.set_queue_size(u16::try_from(value).unwrap_or(0)));
            }
            register::QUEUE_READY if value == 0 => endpoint.negotiate(|it| it.disable_queue()),
            register::QUEUE_READY => endpoint.enable_queue(),
            register::QUEUE_NOTIFY => endpoint.notify(u16::try_from(value).unwrap_or(u16::MAX)),
            register::INTERRUPT_ACKNOWLEDGE => self.interrupt.acknowledge(value),
            register::STATUS => {
                if endpoint.set_status(value.to_le_bytes()[0]) {
                    self.interrupt.acknowledge(!0);
                }
            }
            _ => self.set_queue_address(offset, value),
        }
    }

    fn set_queue_address(&self, offset: u64, value: u32) {
        let part = match offset & !4 {
            register::QUEUE_DESCRIPTORS => Part::Descriptors,
            register::QUEUE_AVAILABLE => Part::Available,
            register::QUEUE_USED => Part::Used,
            _ => return,
        };
        self.endpoint.negotiate(|it| it.set_queue_address(part, offset & 4 != 0, value));
    }
}

impl BusDevice for Mmio {
    /// Registers are read in aligned words only (4.2.2.2); anything else is all ones.
    fn read(&self, offset: u64, data: &mut [u8]) {
        match (offset.checked_sub(CONFIG).map(usize::try_from), &mut *data) {
            (Some(Ok(offset)), data) => self.endpoint.read_config(offset, data),
            (None, [a, b, c, d]) if offset.is_multiple_of(4) => {
                [*a, *b, *c, *d] = self.register(offset).to_le_bytes();
            }
            _ => data.fill(0xff),
        }
    }

    fn write(&self, offset: u64, data: &[u8]) {
        match (offset.checked_sub(CONFIG).map(usize::try_from), data) {
            (Some(Ok(offset)), data) => self.endpoint.write_config(offset, data),
            (None, &[a, b, c, d]) if offset.is_multiple_of(4) => {
                self.set_register(offset, u32::from_le_bytes([a, b, c, d]));
            }
            _ => {}
        }
    }
}

impl Device for Mmio {
    fn name(&self) -> &str {
        self.endpoint.name()
    }

    fn pause(&self) {
        self.endpoint.pause();
    }

    fn resume(&self) {
        self.endpoint.resume();
    }

    fn reset(&self) {
        self.endpoint.reset();
        self.interrupt.acknowledge(!0);
    }
}

impl Interrupt {
    fn status(&self) -> u32 {
        *self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn raise(&self, bit: u32) {
        self.change(|status| status | bit);
    }

    fn acknowledge(&self, bits: u32) {
        self.change(|status| status & !bits);
    }

    fn change(&self, change: impl FnOnce(u32) -> u32) {
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        *status = change(*status);
        self.line.set(*status != 0);
    }
}

impl InterruptSink for Interrupt {
    fn queue_used(&self, _: u16) {
        self.raise(USED_BUFFER);
    }

    fn config_changed(&self) {
        self.raise(CONFIG_CHANGE);
    }
}
