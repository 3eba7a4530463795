//! `Chain`: one request's buffers, read once from the descriptor table and checked (VIRTIO 1.2, 2.7.5).

use virtio_bindings::virtio_ring::{VRING_DESC_F_INDIRECT, VRING_DESC_F_NEXT};
use virtio_queue::desc::split::Descriptor;
use vm_memory::{Address, Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryRegion, VolatileMemory};

use super::QueueLayout;
use crate::memory::{GuestRam, Segment, parts};

/// Size of a descriptor in bytes.
const DESCRIPTOR_SIZE: u32 = 16;

/// The buffers of one request: those the device reads, then those it writes.
///
/// Every segment lies in RAM, checked when the chain was popped, and none is empty; there are at most as many as the queue is large, of together at most 4 GiB less 1.
#[derive(Debug, PartialEq, Eq)]
pub struct Chain {
    head: u16,
    segments: Vec<Segment>,
    /// How many of `segments` the device reads.
    readable: usize,
    readable_len: u32,
    writable_len: u32,
}

impl Chain {
    /// The number that gives it back: [`Virtqueue::push`](super::Virtqueue::push).
    pub fn head(&self) -> u16 {
        self.head
    }

    /// The buffers that the device reads, in order.
    pub fn readable(&self) -> &[Segment] {
        self.segments.split_at(self.readable).0
    }

    /// The buffers that the device writes, in order.
    pub fn writable(&self) -> &[Segment] {
        self.segments.split_at(self.readable).1
    }

    /// Bytes in [`readable`](Self::readable).
    pub fn readable_len(&self) -> u32 {
        self.readable_len
    }

    /// Bytes in [`writable`](Self::writable).
    pub fn writable_len(&self) -> u32 {
        self.writable_len
    }

    /// Copies readable bytes from `offset` on into `data` and says how many there were.
    pub fn read_at(&self, ram: &GuestRam, offset: u32, data: &mut [u8]) -> usize {
        let mut done = 0;
        for (address, len) in pieces(self.readable(), offset, data.len()) {
            let Some(piece) = data.get_mut(done..done + len) else { break };
            if ram.read_slice(piece, address).is_err() {
                break;
            }
            done += len;
        }
        done
    }

    /// Copies `data` to the writable bytes from `offset` on and says how many had room.
    pub fn write_at(&self, ram: &GuestRam, offset: u32, data: &[u8]) -> usize {
        let mut done = 0;
        for (address, len) in pieces(self.writable(), offset, data.len()) {
            let Some(piece) = data.get(done..done + len) else { break };
            if ram.write_slice(piece, address).is_err() {
                break;
            }
            done += len;
        }
        done
    }

    pub(super) fn into_segments(mut self) -> Vec<Segment> {
        self.segments.clear();
        self.segments
    }
}

/// As [`parts`], for bytes of this process: where each part begins, and its size. A chain has less than 4 GiB.
fn pieces(segments: &[Segment], offset: u32, size: usize) -> impl Iterator<Item = (GuestAddress, usize)> {
    let size = u32::try_from(size).unwrap_or(u32::MAX);
    parts(segments, offset, size).map(|part| (part.address, part.len as usize))
}

/// Reads the chain that begins at descriptor `head` into `segments`, or says how it breaks the protocol.
pub(super) fn read(
    ram: &GuestRam,
    layout: &QueueLayout,
    head: u16,
    mut segments: Vec<Segment>,
) -> Result<Chain, String> {
    segments.clear();
    let mut chain = Chain { head, segments, readable: 0, readable_len: 0, writable_len: 0 };
    let mut table = Table { address: layout.descriptors, len: layout.size, indirect: false };
    let mut next = head;
    // A chain may be as long as the device's queue; a longer one is a loop (2.7.5.1, 2.7.5.3.1).
    for _ in 0..=layout.max_size {
        let descriptor = table.descriptor(ram, next)?;
        let flags = u32::from(descriptor.flags());
        if flags & VRING_DESC_F_INDIRECT != 0 {
            table = table.enter(layout, &descriptor)?;
            next = 0;
            continue;
        }
        chain.add(ram, &descriptor)?;
        if flags & VRING_DESC_F_NEXT == 0 {
            return Ok(chain);
        }
        next = descriptor.next();
    }
    Err(format!("chain from descriptor {head} is a loop or longer than {} descriptors", layout.max_size))
}

/// A table of descriptors.
struct Table {
    address: u64,
    len: u16,
    indirect: bool,
}

impl Table {
    fn descriptor(&self, ram: &GuestRam, index: u16) -> Result<Descriptor, String> {
        if index >= self.len {
            return Err(format!("descriptor {index} is beyond a table of {}", self.len));
        }
        let address = self.address.checked_add(u64::from(index) * u64::from(DESCRIPTOR_SIZE));
        address
            .and_then(|address| load(ram, GuestAddress(address)))
            .ok_or_else(|| format!("descriptor table at {:#x} is not in RAM", self.address))
    }

    /// The table that `descriptor` refers to (2.7.5.3).
    fn enter(&self, layout: &QueueLayout, descriptor: &Descriptor) -> Result<Self, String> {
        if !layout.indirect {
            return Err("indirect descriptor without VIRTIO_F_INDIRECT_DESC".into());
        }
        if self.indirect {
            return Err("indirect descriptor within an indirect table".into());
        }
        if descriptor.has_next() {
            return Err("indirect descriptor with VIRTQ_DESC_F_NEXT".into());
        }
        let bytes = descriptor.len();
        match u16::try_from(bytes / DESCRIPTOR_SIZE) {
            Ok(len) if len > 0 && bytes.is_multiple_of(DESCRIPTOR_SIZE) => {
                Ok(Self { address: descriptor.addr().raw_value(), len, indirect: true })
            }
            _ => Err(format!("indirect table of {bytes} bytes")),
        }
    }
}

/// The descriptor at `address`, if that is RAM. One region nearly always holds it whole, and then this is half the
/// work of `read_obj`.
fn load(ram: &GuestRam, address: GuestAddress) -> Option<Descriptor> {
    let slice = ram.get_slice(address, DESCRIPTOR_SIZE as usize);
    match slice.ok().and_then(|slice| Some(slice.get_ref(0).ok()?.load())) {
        Some(descriptor) => Some(descriptor),
        None => ram.read_obj(address).ok(),
    }
}

/// Whether all of a buffer is RAM; here too one region nearly always holds it whole.
fn in_ram(ram: &GuestRam, address: GuestAddress, len: u32) -> bool {
    let region = ram.find_region(address);
    region.is_some_and(|region| u64::from(len) <= region.last_addr().0 - address.0)
        || ram.check_range(address, len as usize)
}

impl Chain {
    fn add(&mut self, ram: &GuestRam, descriptor: &Descriptor) -> Result<(), String> {
        let segment = Segment { address: descriptor.addr(), len: descriptor.len() };
        let Segment { address, len } = segment;
        if len != 0 && !in_ram(ram, address, len) {
            return Err(format!("buffer of {len} bytes at {:#x} is not in RAM", address.raw_value()));
        }
        let sum = self.readable_len.checked_add(self.writable_len).and_then(|sum| sum.checked_add(len));
        if sum.is_none() {
            return Err("chain holds more than 4 GiB".into());
        }
        if descriptor.is_write_only() {
            self.writable_len += len;
        } else if self.segments.len() > self.readable {
            return Err("readable buffer after a writable one".into());
        } else {
            self.readable_len += len;
            self.readable += usize::from(len != 0);
        }
        if len != 0 {
            self.segments.push(segment);
        }
        Ok(())
    }
}
