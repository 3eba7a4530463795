//! Device status, features and virtqueue registers, as both transports show them (VIRTIO 1.2, 2.1, 2.2, 3.1).

#[cfg(test)]
mod tests;

use bitflags::bitflags;
use virtio_bindings::{
    virtio_config::VIRTIO_F_VERSION_1,
    virtio_ring::{VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC},
};

use super::{QueueError, queue::QueueLayout};
use crate::memory::GuestRam;

/// The features that every device of ours offers, whatever its type.
pub const TRANSPORT_FEATURES: u64 =
    1 << VIRTIO_F_VERSION_1 | 1 << VIRTIO_RING_F_EVENT_IDX | 1 << VIRTIO_RING_F_INDIRECT_DESC;

bitflags! {
    /// The device status field (2.1).
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
    pub struct Status: u8 {
        /// The guest found the device.
        const ACKNOWLEDGE = 1;
        /// The guest has a driver for it.
        const DRIVER = 2;
        /// The driver is ready.
        const DRIVER_OK = 4;
        /// Both sides agreed on the features.
        const FEATURES_OK = 8;
        /// The device cannot go on until it is reset.
        const NEEDS_RESET = 64;
        /// The driver gave up.
        const FAILED = 128;
    }
}

/// What a store to the status register asks the transport to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transition {
    /// Nothing.
    None,
    /// The driver is ready: start the device.
    Activate,
    /// Reset the device, then this state machine.
    Reset,
}

/// A part of a virtqueue that has an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The descriptor table.
    Descriptors,
    /// The available ring, or driver area.
    Available,
    /// The used ring, or device area.
    Used,
}

/// One virtqueue's registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueRegisters {
    layout: QueueLayout,
    enabled: bool,
}

/// The registers through which a driver sets a device up.
#[derive(Debug)]
pub struct Negotiation {
    offered: u64,
    accepted: u64,
    status: Status,
    /// Which half of the offered features is shown.
    pub device_feature_select: u32,
    /// Which half of the accepted features is written.
    pub driver_feature_select: u32,
    /// Which virtqueue the queue registers mean.
    pub queue_select: u16,
    queues: Vec<QueueRegisters>,
}

impl Negotiation {
    /// The state after power-on of a device that offers `features` of its type and virtqueues up to these sizes.
    pub fn new(features: u64, queue_sizes: &[u16]) -> Self {
        let queues = (0..).zip(queue_sizes).map(|(index, &max_size)| QueueRegisters::new(index, max_size));
        Self {
            offered: features | TRANSPORT_FEATURES,
            accepted: 0,
            status: Status::empty(),
            device_feature_select: 0,
            driver_feature_select: 0,
            queue_select: 0,
            queues: queues.collect(),
        }
    }

    /// Back to the state after power-on.
    pub fn reset(&mut self) {
        let Self { offered, queues, .. } = self;
        let queues =
            queues.iter().map(|queue| QueueRegisters::new(queue.layout.index, queue.layout.max_size));
        *self = Self { offered: *offered, queues: queues.collect(), ..Self::new(0, &[]) };
    }

    /// How far the driver is; `NEEDS_RESET` is the transport's to add.
    pub fn status(&self) -> Status {
        self.status
    }

    /// A store to the status register (2.1.1, 3.1.1): bits are set in their order and cleared by a reset only;
    /// a bit out of turn stays clear, as does `FEATURES_OK` when the features are not acceptable.
    pub fn set_status(&mut self, value: u8) -> Transition {
        if value == 0 {
            return Transition::Reset;
        }
        let asked = Status::from_bits_truncate(value);
        self.advance(asked, Status::ACKNOWLEDGE, true);
        self.advance(asked, Status::DRIVER, self.status.contains(Status::ACKNOWLEDGE));
        let acceptable = self.status.contains(Status::DRIVER) && self.features_acceptable();
        self.advance(asked, Status::FEATURES_OK, acceptable);
        self.advance(asked, Status::FAILED, true);
        let ready = self.status.contains(Status::FEATURES_OK) && !self.status.contains(Status::FAILED);
        match self.advance(asked, Status::DRIVER_OK, ready) {
            true => Transition::Activate,
            false => Transition::None,
        }
    }

    /// Sets `bit` if asked and allowed; says whether it is new.
    fn advance(&mut self, asked: Status, bit: Status, allowed: bool) -> bool {
        let new = allowed && asked.contains(bit) && !self.status.contains(bit);
        self.status.set(bit, new || self.status.contains(bit));
        new
    }

    fn features_acceptable(&self) -> bool {
        self.accepted & !self.offered == 0 && self.accepted & 1 << VIRTIO_F_VERSION_1 != 0
    }

    /// The features that the driver accepted.
    pub fn features(&self) -> u64 {
        self.accepted
    }

    /// The selected half of the offered features.
    pub fn device_features(&self) -> u32 {
        half(self.offered, self.device_feature_select)
    }

    /// The selected half of the accepted features.
    pub fn driver_features(&self) -> u32 {
        half(self.accepted, self.driver_feature_select)
    }

    /// The driver accepts the selected half of the features; fixed once `FEATURES_OK` is set.
    pub fn accept_features(&mut self, value: u32) {
        if self.driver_feature_select < 2 && !self.status.contains(Status::FEATURES_OK) {
            set_half(&mut self.accepted, self.driver_feature_select == 1, value);
        }
    }

    /// The selected virtqueue's registers, if the device has such a queue.
    pub fn queue(&self) -> Option<&QueueRegisters> {
        self.queues.get(usize::from(self.queue_select))
    }

    /// All virtqueues.
    pub fn queues(&self) -> &[QueueRegisters] {
        &self.queues
    }

    /// Sets the selected virtqueue's size, unless it is enabled.
    pub fn set_queue_size(&mut self, size: u16) {
        if let Some(queue) = self.queue_in_setup() {
            queue.layout.size = size;
        }
    }

    /// Sets the lower or upper half of the address of a part of the selected virtqueue, unless it is enabled.
    pub fn set_queue_address(&mut self, part: Part, upper: bool, value: u32) {
        if let Some(queue) = self.queue_in_setup() {
            set_half(queue.address_mut(part), upper, value);
        }
    }

    fn queue_in_setup(&mut self) -> Option<&mut QueueRegisters> {
        let live = self.status.contains(Status::DRIVER_OK);
        self.queues.get_mut(usize::from(self.queue_select)).filter(|queue| !live && !queue.enabled)
    }

    /// Enables the selected virtqueue if all of it is valid.
    ///
    /// # Errors
    /// Size or addresses are not; the queue stays disabled.
    pub fn enable_queue(&mut self, ram: &GuestRam) -> Result<(), QueueError> {
        let Some(queue) = self.queue_in_setup() else { return Ok(()) };
        queue.layout.check(ram)?;
        queue.enabled = true;
        Ok(())
    }

    /// Disables the selected virtqueue, which a driver may do before it is ready (4.2.3.2 with 4.2.2.2).
    pub fn disable_queue(&mut self) {
        if self.status.contains(Status::DRIVER_OK) {
            return;
        }
        if let Some(queue) = self.queues.get_mut(usize::from(self.queue_select)) {
            queue.enabled = false;
        }
    }

    /// Where the virtqueues are, in the device's numbering, with what was negotiated; `None` for those not enabled.
    pub fn layouts(&self) -> impl Iterator<Item = Option<QueueLayout>> {
        let event_idx = self.accepted & 1 << VIRTIO_RING_F_EVENT_IDX != 0;
        let indirect = self.accepted & 1 << VIRTIO_RING_F_INDIRECT_DESC != 0;
        self.queues
            .iter()
            .map(move |queue| queue.enabled.then_some(QueueLayout { event_idx, indirect, ..queue.layout }))
    }
}

impl QueueRegisters {
    fn new(index: u16, max_size: u16) -> Self {
        let layout = QueueLayout { index, max_size, size: max_size, ..QueueLayout::default() };
        Self { layout, enabled: false }
    }

    /// The largest size that the device offers.
    pub fn max_size(&self) -> u16 {
        self.layout.max_size
    }

    /// The size that the driver chose.
    pub fn size(&self) -> u16 {
        self.layout.size
    }

    /// Whether the driver enabled it.
    pub fn enabled(&self) -> bool {
        self.enabled
    }

    /// The guest-physical address of `part`.
    pub fn address(&self, part: Part) -> u64 {
        match part {
            Part::Descriptors => self.layout.descriptors,
            Part::Available => self.layout.available,
            Part::Used => self.layout.used,
        }
    }

    fn address_mut(&mut self, part: Part) -> &mut u64 {
        match part {
            Part::Descriptors => &mut self.layout.descriptors,
            Part::Available => &mut self.layout.available,
            Part::Used => &mut self.layout.used,
        }
    }
}

/// Bits 32·`select`.. of `value`; there are none beyond 64.
fn half(value: u64, select: u32) -> u32 {
    match select {
        0 => low(value),
        1 => low(value >> 32),
        _ => 0,
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the lower half is what is asked for")]
fn low(value: u64) -> u32 {
    value as u32
}

fn set_half(value: &mut u64, upper: bool, half: u32) {
    let half = u64::from(half);
    *value = if upper { *value & 0xffff_ffff | half << 32 } else { *value & !0xffff_ffff | half };
}
