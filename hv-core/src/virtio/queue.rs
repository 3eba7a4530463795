//! `Virtqueue`: one split virtqueue as a device sees it (VIRTIO 1.2, 2.7).

mod chain;
mod interrupt;
#[cfg(test)]
mod tests;

use std::{fmt, sync::atomic::Ordering};

use virtio_bindings::virtio_ring::VRING_AVAIL_F_NO_INTERRUPT;
use virtio_queue::{Error as RingError, Queue, QueueOwnedT, QueueT};
use vm_memory::{Bytes, GuestAddress};

pub use chain::Chain;
pub use interrupt::{ConfigInterrupt, InterruptSink, QueueInterrupt};

use super::QueueError;
use crate::memory::{GuestRam, Segment};

/// Where a driver placed a virtqueue, and what both sides agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct QueueLayout {
    /// The queue's number.
    pub index: u16,
    /// The largest size that the device offers: a power of two, at most 32768.
    pub max_size: u16,
    /// The size that the driver chose: a power of two, at most `max_size`.
    pub size: u16,
    /// Guest-physical address of the descriptor table, a multiple of 16.
    pub descriptors: u64,
    /// Guest-physical address of the available ring ("driver area"), a multiple of 2.
    pub available: u64,
    /// Guest-physical address of the used ring ("device area"), a multiple of 4.
    pub used: u64,
    /// `VIRTIO_F_EVENT_IDX` was negotiated.
    pub event_idx: bool,
    /// `VIRTIO_F_INDIRECT_DESC` was negotiated.
    pub indirect: bool,
}

/// One virtqueue: chains of buffers come from the driver by [`pop`](Self::pop), go back by [`push`](Self::push),
/// and [`signal`](Self::signal) tells the driver so.
///
/// The usual turn of a worker, which loses no doorbell:
/// ```text
/// loop {
///     queue.disable_doorbell()?;
///     while let Some(chain) = queue.pop()? { …; queue.push(chain.head(), written)?; queue.recycle(chain); }
///     queue.signal()?;
///     if !queue.enable_doorbell()? { break }
/// }
/// ```
pub struct Virtqueue {
    ram: GuestRam,
    ring: Queue,
    layout: QueueLayout,
    interrupt: QueueInterrupt,
    /// A chain was pushed since the last signal.
    pushed: bool,
    /// Segment lists of recycled chains.
    spare: Vec<Vec<Segment>>,
}

impl QueueLayout {
    /// Checks size, alignment and place of the queue's three parts.
    ///
    /// # Errors
    /// What is wrong, with the value.
    pub fn check(&self, ram: &GuestRam) -> Result<(), QueueError> {
        self.ring(ram).map(drop)
    }

    fn ring(&self, ram: &GuestRam) -> Result<Queue, QueueError> {
        let refuse = |reason: String| QueueError { queue: self.index, reason };
        let mut ring = Queue::new(self.max_size)
            .map_err(|_| refuse(format!("largest size {} is no power of two", self.max_size)))?;
        ring.try_set_size(self.size)
            .map_err(|_| refuse(format!("size {} is no power of two up to {}", self.size, self.max_size)))?;
        ring.try_set_desc_table_address(GuestAddress(self.descriptors))
            .map_err(|_| refuse(format!("descriptor table at {:#x} is misaligned", self.descriptors)))?;
        ring.try_set_avail_ring_address(GuestAddress(self.available))
            .map_err(|_| refuse(format!("available ring at {:#x} is misaligned", self.available)))?;
        ring.try_set_used_ring_address(GuestAddress(self.used))
            .map_err(|_| refuse(format!("used ring at {:#x} is misaligned", self.used)))?;
        ring.set_ready(true);
        ring.set_event_idx(self.event_idx);
        if !ring.is_valid(&**ram) {
            let Self { descriptors, available, used, .. } = self;
            return Err(refuse(format!(
                "rings at {descriptors:#x}, {available:#x}, {used:#x} are not in RAM"
            )));
        }
        Ok(ring)
    }
}

impl Virtqueue {
    /// The queue that a driver placed in `ram` at `layout`.
    ///
    /// # Errors
    /// The layout is not valid.
    pub fn new(ram: GuestRam, layout: QueueLayout, interrupt: QueueInterrupt) -> Result<Self, QueueError> {
        let ring = layout.ring(&ram)?;
        Ok(Self { ram, ring, layout, interrupt, pushed: false, spare: Vec::new() })
    }

    /// Its number.
    pub fn index(&self) -> u16 {
        self.layout.index
    }

    /// Its size: the most chains that can be under way.
    pub fn size(&self) -> u16 {
        self.layout.size
    }

    /// Guest RAM.
    pub fn ram(&self) -> &GuestRam {
        &self.ram
    }

    /// Takes the next chain that the driver made available.
    ///
    /// # Errors
    /// The ring or the chain breaks the protocol; nothing more can be taken from this queue.
    pub fn pop(&mut self) -> Result<Option<Chain>, QueueError> {
        let Some(head) = self.next_head()? else { return Ok(None) };
        let segments = self.spare.pop().unwrap_or_default();
        chain::read(&self.ram, &self.layout, head, segments).map(Some).map_err(|reason| self.error(reason))
    }

    fn next_head(&mut self) -> Result<Option<u16>, QueueError> {
        let index = self.layout.index;
        let mut available = self.ring.iter(&*self.ram).map_err(|error| ring_error(index, &error))?;
        // The ring lies in RAM, so `None` is an empty ring and nothing else.
        Ok(available.next().map(|chain| chain.head_index()))
    }

    /// Gives the chain that began at `head` back, with `written` bytes at the start of its writable part.
    ///
    /// # Errors
    /// `head` is no descriptor of this queue.
    pub fn push(&mut self, head: u16, written: u32) -> Result<(), QueueError> {
        let index = self.layout.index;
        self.pushed = true;
        self.ring.add_used(&*self.ram, head, written).map_err(|error| ring_error(index, &error))
    }

    /// Keeps a chain's memory for the next [`pop`](Self::pop), which then need not allocate.
    pub fn recycle(&mut self, chain: Chain) {
        if self.spare.len() < usize::from(self.layout.size) {
            self.spare.push(chain.into_segments());
        }
    }

    /// Interrupts the driver if it wants to hear of what was pushed since the last call: once after each batch.
    ///
    /// # Errors
    /// The ring is broken.
    pub fn signal(&mut self) -> Result<(), QueueError> {
        if !std::mem::take(&mut self.pushed) {
            return Ok(());
        }
        let index = self.layout.index;
        // Orders the used index before the driver's wish, which it may be changing (2.7.7.1, 2.7.10).
        let wanted = self.ring.needs_notification(&*self.ram).map_err(|error| ring_error(index, &error))?;
        if wanted && (self.layout.event_idx || !self.interrupts_off()?) {
            self.interrupt.fire();
        }
        Ok(())
    }

    /// Whether a driver without `EVENT_IDX` wants no interrupt for now (2.7.7).
    fn interrupts_off(&self) -> Result<bool, QueueError> {
        let flags: u16 = self
            .ram
            .load(GuestAddress(self.layout.available), Ordering::Relaxed)
            .map_err(|error| self.error(error.to_string()))?;
        Ok(u32::from(u16::from_le(flags)) & VRING_AVAIL_F_NO_INTERRUPT != 0)
    }

    /// Whether the driver has made chains available that were not taken yet; a broken ring says so in
    /// [`pop`](Self::pop).
    pub fn has_available(&self) -> bool {
        let available = self.ring.avail_idx(&*self.ram, Ordering::Acquire);
        available.is_ok_and(|index| index.0 != self.ring.next_avail())
    }

    /// Asks for a doorbell at the next chain. True if one came before the driver could see that: look again.
    ///
    /// # Errors
    /// The ring is broken.
    pub fn enable_doorbell(&mut self) -> Result<bool, QueueError> {
        let index = self.layout.index;
        self.ring.enable_notification(&*self.ram).map_err(|error| ring_error(index, &error))
    }

    /// Asks for no doorbells for now; some may still come.
    ///
    /// # Errors
    /// The ring is broken.
    pub fn disable_doorbell(&mut self) -> Result<(), QueueError> {
        let index = self.layout.index;
        self.ring.disable_notification(&*self.ram).map_err(|error| ring_error(index, &error))
    }

    /// A protocol error on this queue, as a device finds it in a chain.
    pub fn error(&self, reason: impl Into<String>) -> QueueError {
        QueueError { queue: self.layout.index, reason: reason.into() }
    }
}

fn ring_error(queue: u16, error: &RingError) -> QueueError {
    QueueError { queue, reason: error.to_string() }
}

impl fmt::Debug for Virtqueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Virtqueue").field("layout", &self.layout).finish_non_exhaustive()
    }
}
