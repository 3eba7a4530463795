//! `Virtqueue`: one split virtqueue as a device sees it (VIRTIO 1.2, 2.7).

mod chain;
mod interrupt;
mod rings;
#[cfg(test)]
mod tests;

use std::fmt;

use vm_memory::GuestMemoryError;

pub use chain::Chain;
pub use interrupt::{ConfigInterrupt, InterruptSink, QueueInterrupt};

use self::rings::Rings;
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
    rings: Rings,
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
        self.rings(ram).map(drop)
    }

    fn rings(&self, ram: &GuestRam) -> Result<Rings, QueueError> {
        Rings::new(ram, self).map_err(|reason| QueueError { queue: self.index, reason })
    }
}

impl Virtqueue {
    /// The queue that a driver placed in `ram` at `layout`.
    ///
    /// # Errors
    /// The layout is not valid.
    pub fn new(ram: GuestRam, layout: QueueLayout, interrupt: QueueInterrupt) -> Result<Self, QueueError> {
        let rings = layout.rings(&ram)?;
        Ok(Self { ram, rings, layout, interrupt, pushed: false, spare: Vec::new() })
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
        let Some(head) = self.rings.take().map_err(|reason| self.error(reason))? else { return Ok(None) };
        let segments = self.spare.pop().unwrap_or_default();
        let table = self.rings.descriptors().map_err(|error| self.memory_error(&error))?;
        chain::read(&self.ram, &self.layout, table, head, segments)
            .map(Some)
            .map_err(|reason| self.error(reason))
    }

    /// Gives the chain that began at `head` back, with `written` bytes at the start of its writable part. The driver
    /// sees it after the next [`signal`](Self::signal).
    ///
    /// # Errors
    /// `head` is no descriptor of this queue.
    pub fn push(&mut self, head: u16, written: u32) -> Result<(), QueueError> {
        if head >= self.layout.size {
            return Err(self.error(format!("descriptor {head} is beyond a table of {}", self.layout.size)));
        }
        self.pushed = true;
        self.rings.give_back(head, written).map_err(|error| self.memory_error(&error))
    }

    /// Keeps a chain's memory for the next [`pop`](Self::pop), which then need not allocate.
    pub fn recycle(&mut self, chain: Chain) {
        if self.spare.len() < usize::from(self.layout.size) {
            self.spare.push(chain.into_segments());
        }
    }

    /// Shows the driver what was pushed since the last call, and interrupts it if it wants to hear of that: once after
    /// each batch, and before the worker waits for anything.
    ///
    /// # Errors
    /// The ring is broken.
    pub fn signal(&mut self) -> Result<(), QueueError> {
        if std::mem::take(&mut self.pushed)
            && self.rings.publish().map_err(|error| self.memory_error(&error))?
        {
            self.interrupt.fire();
        }
        Ok(())
    }

    /// Whether the driver has made chains available that were not taken yet; a broken ring says so in
    /// [`pop`](Self::pop).
    pub fn has_available(&self) -> bool {
        self.rings.has_available().unwrap_or_default()
    }

    /// How many chains the driver has made available that were not taken yet; a broken ring says so in
    /// [`pop`](Self::pop).
    pub fn available(&self) -> u16 {
        self.rings.available().unwrap_or_default()
    }

    /// Asks for a doorbell at the next chain. True if one came before the driver could see that: look again.
    ///
    /// # Errors
    /// The ring is broken.
    pub fn enable_doorbell(&mut self) -> Result<bool, QueueError> {
        self.rings.enable_doorbell().map_err(|error| self.memory_error(&error))
    }

    /// Asks for no doorbells for now; some may still come.
    ///
    /// # Errors
    /// The ring is broken.
    pub fn disable_doorbell(&mut self) -> Result<(), QueueError> {
        self.rings.disable_doorbell().map_err(|error| self.memory_error(&error))
    }

    /// A protocol error on this queue, as a device finds it in a chain.
    pub fn error(&self, reason: impl Into<String>) -> QueueError {
        QueueError { queue: self.layout.index, reason: reason.into() }
    }

    /// The rings were found in RAM, so this cannot be; no reason to panic if it is.
    fn memory_error(&self, error: &GuestMemoryError) -> QueueError {
        self.error(error.to_string())
    }
}

impl fmt::Debug for Virtqueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Virtqueue").field("layout", &self.layout).finish_non_exhaustive()
    }
}
