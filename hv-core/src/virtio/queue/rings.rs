//! `Rings`: where a split virtqueue lies in RAM, and how far the device is in it (VIRTIO 1.2, 2.7).
//!
//! The driver polls or is about to write what is here, so each access may take a cache line from another core:
//! the available index is read when all chains before it are taken, the used index written once a batch.

use std::sync::{
    Arc,
    atomic::{Ordering, fence},
};

use vm_memory::{
    AtomicAccess, Bytes, GuestAddress, GuestMemoryError, GuestMemoryRegion, GuestRegionMmap,
    MemoryRegionAddress, VolatileSlice,
};

use super::QueueLayout;
use crate::memory::{self, GuestRam};

/// Size of a descriptor in bytes.
pub(super) const DESCRIPTOR_SIZE: usize = 16;

/// The largest size of a split virtqueue (2.7).
const MAX_SIZE: u16 = 1 << 15;

// Both rings begin with flags and index, and end with an event index (2.7.6, 2.7.8).
const FLAGS: u64 = 0;
const INDEX: u64 = 2;
const ENTRIES: u64 = 4;
const EVENT_LEN: u64 = 2;
const AVAILABLE_ENTRY: u64 = 2;
const USED_ENTRY: u64 = 8;

/// `VIRTQ_AVAIL_F_NO_INTERRUPT` and `VIRTQ_USED_F_NO_NOTIFY`.
const NO_INTERRUPT: u16 = 1;
const NO_NOTIFY: u16 = 1;

/// The three parts of a virtqueue, and the device's place in them.
pub(super) struct Rings {
    descriptors: Part,
    available: Part,
    used: Part,
    size: u16,
    event_idx: bool,
    /// Chains taken.
    taken: u16,
    /// Chains that the driver had made available when that was last looked at.
    offered: u16,
    /// Chains given back.
    given_back: u16,
    /// Those of them that the driver was told of.
    published: u16,
}

/// A part of a virtqueue, found in RAM once. Each lies in one region: between regions are holes.
struct Part {
    region: Arc<GuestRegionMmap>,
    start: u64,
}

impl Rings {
    /// Checks sizes, alignment and place, and says what is wrong.
    pub(super) fn new(ram: &GuestRam, layout: &QueueLayout) -> Result<Self, String> {
        let &QueueLayout { index: _, max_size, size, descriptors, available, used, event_idx, indirect: _ } =
            layout;
        if !max_size.is_power_of_two() || max_size > MAX_SIZE {
            return Err(format!("largest size {max_size} is no power of two up to {MAX_SIZE}"));
        }
        if !size.is_power_of_two() || size > max_size {
            return Err(format!("size {size} is no power of two up to {max_size}"));
        }
        let places =
            [("descriptor table", descriptors, 16), ("available ring", available, 2), ("used ring", used, 4)];
        for (name, address, align) in places {
            if address % align != 0 {
                return Err(format!("{name} at {address:#x} is misaligned"));
            }
        }
        let entries = u64::from(size);
        let part = |address, len| {
            Part::find(ram, address, len)
                .ok_or_else(|| format!("rings at {descriptors:#x}, {available:#x}, {used:#x} are not in RAM"))
        };
        Ok(Self {
            descriptors: part(descriptors, DESCRIPTOR_SIZE as u64 * entries)?,
            available: part(available, ENTRIES + AVAILABLE_ENTRY * entries + EVENT_LEN)?,
            used: part(used, ENTRIES + USED_ENTRY * entries + EVENT_LEN)?,
            size,
            event_idx,
            taken: 0,
            offered: 0,
            given_back: 0,
            published: 0,
        })
    }

    /// The descriptor table.
    pub(super) fn descriptors(&self) -> Result<VolatileSlice<'_>, GuestMemoryError> {
        let Part { region, start } = &self.descriptors;
        region.get_slice(MemoryRegionAddress(*start), usize::from(self.size) * DESCRIPTOR_SIZE)
    }

    /// Takes the next chain: its first descriptor, whatever the driver says that is.
    pub(super) fn take(&mut self) -> Result<Option<u16>, String> {
        if self.taken == self.offered {
            let offered = self.available_index().map_err(|error| error.to_string())?;
            if offered.wrapping_sub(self.taken) > self.size {
                return Err(format!(
                    "available ring index {offered} is more than {} beyond {}",
                    self.size, self.taken
                ));
            }
            self.offered = offered;
            if self.taken == offered {
                return Ok(None);
            }
        }
        let entry = ENTRIES + AVAILABLE_ENTRY * self.slot(self.taken);
        let head = self.available.load(entry, Ordering::Relaxed).map_err(|error| error.to_string())?;
        self.taken = self.taken.wrapping_add(1);
        Ok(Some(u16::from_le(head)))
    }

    /// Gives the chain at `head` back; the driver sees that when it is [published](Self::publish).
    pub(super) fn give_back(&mut self, head: u16, written: u32) -> Result<(), GuestMemoryError> {
        let entry = ENTRIES + USED_ENTRY * self.slot(self.given_back);
        self.used.store(entry, u32::from(head).to_le(), Ordering::Relaxed)?;
        self.used.store(entry + 4, written.to_le(), Ordering::Relaxed)?;
        self.given_back = self.given_back.wrapping_add(1);
        Ok(())
    }

    /// Tells the driver what was given back since the last call; says whether it wants an interrupt for that.
    pub(super) fn publish(&mut self) -> Result<bool, GuestMemoryError> {
        let (old, new) = (self.published, self.given_back);
        self.used.store(INDEX, new.to_le(), Ordering::Release)?;
        self.published = new;
        // Orders the used index before the driver's wish, which it may be changing (2.7.7.1, 2.7.10).
        fence(Ordering::SeqCst);
        if !self.event_idx {
            let flags = u16::from_le(self.available.load(FLAGS, Ordering::Relaxed)?);
            return Ok(flags & NO_INTERRUPT == 0);
        }
        let event = ENTRIES + AVAILABLE_ENTRY * u64::from(self.size);
        let event = u16::from_le(self.available.load(event, Ordering::Relaxed)?);
        // Whether the entry that the driver waits for is among the new ones (2.7.7.2).
        Ok(new.wrapping_sub(event).wrapping_sub(1) < new.wrapping_sub(old))
    }

    /// Whether chains are available that were not taken.
    pub(super) fn has_available(&self) -> Result<bool, GuestMemoryError> {
        Ok(self.available()? != 0)
    }

    /// How many chains are available that were not taken, by what the driver says.
    pub(super) fn available(&self) -> Result<u16, GuestMemoryError> {
        Ok(self.available_index()?.wrapping_sub(self.taken))
    }

    /// Asks for a doorbell at the next chain; says whether there is one already.
    pub(super) fn enable_doorbell(&mut self) -> Result<bool, GuestMemoryError> {
        if self.event_idx {
            let event = ENTRIES + USED_ENTRY * u64::from(self.size);
            self.used.store(event, self.taken.to_le(), Ordering::Relaxed)?;
        } else {
            self.used.store(FLAGS, 0_u16, Ordering::Relaxed)?;
        }
        // Orders the wish before the look: the driver does the reverse (2.7.10, 2.7.13.3).
        fence(Ordering::SeqCst);
        self.has_available()
    }

    /// Asks for no doorbells. With `EVENT_IDX` the one asked for was the last anyway.
    pub(super) fn disable_doorbell(&mut self) -> Result<(), GuestMemoryError> {
        if self.event_idx {
            return Ok(());
        }
        self.used.store(FLAGS, NO_NOTIFY.to_le(), Ordering::Relaxed)
    }

    fn available_index(&self) -> Result<u16, GuestMemoryError> {
        self.available.load(INDEX, Ordering::Acquire).map(u16::from_le)
    }

    /// Which entry of a ring the chain with this number has.
    fn slot(&self, count: u16) -> u64 {
        // A power of two.
        u64::from(count & (self.size - 1))
    }
}

impl Part {
    fn find(ram: &GuestRam, address: u64, len: u64) -> Option<Self> {
        let region =
            memory::regions(ram).find(|region| region.to_region_addr(GuestAddress(address)).is_some())?;
        let start = address - region.start_addr().0;
        (len <= region.len() - start).then_some(Self { region, start })
    }

    fn load<T: AtomicAccess>(&self, offset: u64, order: Ordering) -> Result<T, GuestMemoryError> {
        self.region.load(MemoryRegionAddress(self.start + offset), order)
    }

    fn store<T: AtomicAccess>(&self, offset: u64, value: T, order: Ordering) -> Result<(), GuestMemoryError> {
        self.region.store(value, MemoryRegionAddress(self.start + offset), order)
    }
}
