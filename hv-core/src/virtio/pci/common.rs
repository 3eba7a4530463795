//! The common configuration structure (VIRTIO 1.2, 4.1.4.3).

use super::interrupt::Interrupt;
use crate::virtio::{
    Endpoint,
    negotiation::{Part, QueueRegisters},
};

/// Its size in bytes.
pub(super) const SIZE: u64 = 0x38;

/// Offsets of its fields.
mod field {
    pub(super) const DEVICE_FEATURE_SELECT: u64 = 0x00;
    pub(super) const DRIVER_FEATURE_SELECT: u64 = 0x08;
    pub(super) const DRIVER_FEATURE: u64 = 0x0c;
    pub(super) const CONFIG_VECTOR: u64 = 0x10;
    pub(super) const STATUS: u64 = 0x14;
    pub(super) const QUEUE_SELECT: u64 = 0x16;
    pub(super) const QUEUE_SIZE: u64 = 0x18;
    pub(super) const QUEUE_VECTOR: u64 = 0x1a;
    pub(super) const QUEUE_ENABLE: u64 = 0x1c;
    pub(super) const QUEUE_DESCRIPTORS: u64 = 0x20;
    pub(super) const QUEUE_AVAILABLE: u64 = 0x28;
    pub(super) const QUEUE_USED: u64 = 0x30;
}

/// A load of any width: no field changes by being read.
pub(super) fn read(endpoint: &Endpoint, interrupt: &Interrupt, offset: u64, data: &mut [u8]) {
    let image = image(endpoint, interrupt);
    let at = usize::try_from(offset).unwrap_or(usize::MAX);
    for (byte, value) in data.iter_mut().zip(image.get(at..).unwrap_or_default()) {
        *byte = *value;
    }
}

/// All fields, in their order.
fn image(endpoint: &Endpoint, interrupt: &Interrupt) -> Vec<u8> {
    let status = endpoint.status();
    let [generation, ..] = endpoint.config_generation().to_le_bytes();
    endpoint.negotiation(|it| {
        let queue = it.queue();
        // A queue that is not there reads as zero (4.1.4.3.1).
        let field = |look: fn(&QueueRegisters) -> u16| queue.map(look).unwrap_or_default().to_le_bytes();
        let address = |part| queue.map(|queue| queue.address(part)).unwrap_or_default().to_le_bytes();
        let number = it.queue_select;
        let mut image = Vec::new();
        image.extend(it.device_feature_select.to_le_bytes());
        image.extend(it.device_features().to_le_bytes());
        image.extend(it.driver_feature_select.to_le_bytes());
        image.extend(it.driver_features().to_le_bytes());
        image.extend(interrupt.config_vector().to_le_bytes());
        image.extend(u16::try_from(it.queues().len()).unwrap_or(u16::MAX).to_le_bytes());
        image.extend([status, generation]);
        image.extend(number.to_le_bytes());
        image.extend(field(QueueRegisters::size));
        image.extend(interrupt.queue_vector(number).to_le_bytes());
        image.extend(field(|queue| queue.enabled().into()));
        image.extend(queue.map(|_| number).unwrap_or_default().to_le_bytes());
        image.extend([Part::Descriptors, Part::Available, Part::Used].map(address).as_flattened());
        image
    })
}

/// A store of one field, or of half or all of a 64-bit field (4.1.3.1); anything else is dropped.
pub(super) fn write(endpoint: &Endpoint, interrupt: &Interrupt, offset: u64, data: &[u8]) {
    match *data {
        [value] if offset == field::STATUS => set_status(endpoint, interrupt, value),
        [a, b] => write16(endpoint, interrupt, offset, u16::from_le_bytes([a, b])),
        [a, b, c, d] => write32(endpoint, offset, u32::from_le_bytes([a, b, c, d])),
        [a, b, c, d, e, f, g, h] if offset >= field::QUEUE_DESCRIPTORS && offset.is_multiple_of(8) => {
            write32(endpoint, offset, u32::from_le_bytes([a, b, c, d]));
            write32(endpoint, offset + 4, u32::from_le_bytes([e, f, g, h]));
        }
        _ => {}
    }
}

fn set_status(endpoint: &Endpoint, interrupt: &Interrupt, value: u8) {
    if endpoint.set_status(value) {
        interrupt.reset();
    }
}

fn write16(endpoint: &Endpoint, interrupt: &Interrupt, offset: u64, value: u16) {
    match offset {
        field::CONFIG_VECTOR => interrupt.set_config_vector(value),
        field::QUEUE_SELECT => endpoint.negotiate(|it| it.queue_select = value),
        field::QUEUE_SIZE => endpoint.negotiate(|it| it.set_queue_size(value)),
        field::QUEUE_VECTOR => interrupt.set_queue_vector(endpoint.negotiation(|it| it.queue_select), value),
        // Only a reset disables a queue (4.1.4.3.2).
        field::QUEUE_ENABLE if value == 1 => endpoint.enable_queue(),
        _ => {}
    }
}

fn write32(endpoint: &Endpoint, offset: u64, value: u32) {
    match offset {
        field::DEVICE_FEATURE_SELECT => endpoint.negotiate(|it| it.device_feature_select = value),
        field::DRIVER_FEATURE_SELECT => endpoint.negotiate(|it| it.driver_feature_select = value),
        field::DRIVER_FEATURE => endpoint.negotiate(|it| it.accept_features(value)),
        _ => {
            let part = match offset & !4 {
                field::QUEUE_DESCRIPTORS => Part::Descriptors,
                field::QUEUE_AVAILABLE => Part::Available,
                field::QUEUE_USED => Part::Used,
                _ => return,
            };
            endpoint.negotiate(|it| it.set_queue_address(part, offset & 4 != 0, value));
        }
    }
}
