//! `Chain`: one request's buffers, read once from the descriptor table and checked (VIRTIO 1.2, 2.7.5).

use virtio_bindings::virtio_ring::{VRING_DESC_F_INDIRECT, VRING_DESC_F_NEXT, VRING_DESC_F_WRITE};
use vm_memory::{
    Address, Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryRegion, VolatileMemory, VolatileSlice,
};

use super::{QueueLayout, rings::DESCRIPTOR_SIZE};
use crate::memory::{GuestRam, Segment, parts};

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

/// Reads the chain that begins at descriptor `head` of `table` into `segments`, or says how it breaks the protocol.
pub(super) fn read<'a>(
    ram: &'a GuestRam,
    layout: &QueueLayout,
    table: VolatileSlice<'a>,
    head: u16,
    mut segments: Vec<Segment>,
) -> Result<Chain, String> {
    segments.clear();
    let mut chain = Chain { head, segments, readable: 0, readable_len: 0, writable_len: 0 };
    let mut table = Table { slice: table, indirect: false };
    let mut next = head;
    // A chain may be as long as the device's queue; a longer one is a loop (2.7.5.1, 2.7.5.3.1).
    for _ in 0..=layout.max_size {
        let descriptor = table.descriptor(next)?;
        if descriptor.has(VRING_DESC_F_INDIRECT) {
            table = table.enter(ram, layout, &descriptor)?;
            next = 0;
            continue;
        }
        chain.add(ram, &descriptor)?;
        if !descriptor.has(VRING_DESC_F_NEXT) {
            return Ok(chain);
        }
        next = descriptor.next;
    }
    Err(format!("chain from descriptor {head} is a loop or longer than {} descriptors", layout.max_size))
}

/// One buffer of a chain, or an indirect table (2.7.5).
#[derive(Clone, Copy)]
struct Descriptor {
    address: GuestAddress,
    len: u32,
    flags: u16,
    next: u16,
}

impl Descriptor {
    fn decode(raw: [u8; DESCRIPTOR_SIZE]) -> Self {
        let [a0, a1, a2, a3, a4, a5, a6, a7, l0, l1, l2, l3, f0, f1, n0, n1] = raw;
        Self {
            address: GuestAddress(u64::from_le_bytes([a0, a1, a2, a3, a4, a5, a6, a7])),
            len: u32::from_le_bytes([l0, l1, l2, l3]),
            flags: u16::from_le_bytes([f0, f1]),
            next: u16::from_le_bytes([n0, n1]),
        }
    }

    fn has(&self, flag: u32) -> bool {
        u32::from(self.flags) & flag != 0
    }
}

/// A table of descriptors.
struct Table<'a> {
    slice: VolatileSlice<'a>,
    indirect: bool,
}

impl<'a> Table<'a> {
    fn descriptor(&self, index: u16) -> Result<Descriptor, String> {
        let descriptor = self.slice.get_ref(usize::from(index) * DESCRIPTOR_SIZE);
        descriptor.map(|raw| Descriptor::decode(raw.load())).map_err(|_| {
            format!("descriptor {index} is beyond a table of {}", self.slice.len() / DESCRIPTOR_SIZE)
        })
    }

    /// The table that `descriptor` refers to (2.7.5.3).
    fn enter(
        &self,
        ram: &'a GuestRam,
        layout: &QueueLayout,
        descriptor: &Descriptor,
    ) -> Result<Self, String> {
        if !layout.indirect {
            return Err("indirect descriptor without VIRTIO_F_INDIRECT_DESC".into());
        }
        if self.indirect {
            return Err("indirect descriptor within an indirect table".into());
        }
        if descriptor.has(VRING_DESC_F_NEXT) {
            return Err("indirect descriptor with VIRTQ_DESC_F_NEXT".into());
        }
        let (address, bytes) = (descriptor.address, descriptor.len as usize);
        let entries = bytes / DESCRIPTOR_SIZE;
        if entries == 0 || entries > usize::from(u16::MAX) || !bytes.is_multiple_of(DESCRIPTOR_SIZE) {
            return Err(format!("indirect table of {bytes} bytes"));
        }
        let slice = ram.get_slice(address, bytes);
        let slice =
            slice.map_err(|_| format!("descriptor table at {:#x} is not in RAM", address.raw_value()))?;
        Ok(Self { slice, indirect: true })
    }
}

/// Whether all of a buffer is RAM; one region nearly always holds it whole.
fn in_ram(ram: &GuestRam, address: GuestAddress, len: u32) -> bool {
    let region = ram.find_region(address);
    region.is_some_and(|region| u64::from(len) <= region.last_addr().0 - address.0)
        || ram.check_range(address, len as usize)
}

impl Chain {
    fn add(&mut self, ram: &GuestRam, descriptor: &Descriptor) -> Result<(), String> {
        let &Descriptor { address, len, .. } = descriptor;
        if len != 0 && !in_ram(ram, address, len) {
            return Err(format!("buffer of {len} bytes at {:#x} is not in RAM", address.raw_value()));
        }
        let sum = self.readable_len.checked_add(self.writable_len).and_then(|sum| sum.checked_add(len));
        if sum.is_none() {
            return Err("chain holds more than 4 GiB".into());
        }
        if descriptor.has(VRING_DESC_F_WRITE) {
            self.writable_len += len;
        } else if self.segments.len() > self.readable {
            return Err("readable buffer after a writable one".into());
        } else {
            self.readable_len += len;
            self.readable += usize::from(len != 0);
        }
        if len != 0 {
            self.segments.push(Segment { address, len });
        }
        Ok(())
    }
}
