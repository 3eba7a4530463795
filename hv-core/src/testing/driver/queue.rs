//! `DriverQueue`: the driver's side of a split virtqueue (VIRTIO 1.2, 2.7).

use std::sync::atomic::{Ordering, fence};

use virtio_bindings::virtio_ring::{
    VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC, VRING_AVAIL_F_NO_INTERRUPT, VRING_DESC_F_INDIRECT,
    VRING_DESC_F_NEXT, VRING_DESC_F_WRITE, VRING_USED_F_NO_NOTIFY,
};
use vm_memory::{Bytes, GuestAddress};

use crate::memory::GuestRam;

/// A buffer of a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Buffer {
    /// Guest-physical address.
    pub address: u64,
    /// Size in bytes.
    pub len: u32,
    /// Whether the device writes it.
    pub writable: bool,
}

/// A chain that the device gave back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Used {
    /// Its first descriptor.
    pub head: u16,
    /// Bytes that the device wrote.
    pub written: u32,
}

/// How chains are laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// In the descriptor table.
    Direct,
    /// In a table of their own, if that was negotiated and there is more than one buffer.
    Indirect,
}

/// Buffers in an indirect table.
const INDIRECT_ENTRIES: u16 = 256;
const DESCRIPTOR_SIZE: u64 = 16;

/// The driver's side of one virtqueue.
pub struct DriverQueue {
    ram: GuestRam,
    size: u16,
    descriptors: u64,
    available: u64,
    used: u64,
    /// One indirect table for each descriptor.
    tables: u64,
    event_idx: bool,
    indirect: bool,
    /// How the next chains are laid out.
    pub style: Style,
    /// Links free descriptors, and those of each chain under way.
    next: Vec<u16>,
    free_head: u16,
    free: u16,
    /// How many descriptors the chain at each head has.
    lengths: Vec<u16>,
    available_index: u16,
    kicked_index: u16,
    used_index: u16,
}

impl DriverQueue {
    /// Bytes that a queue of `size` needs.
    pub fn memory(size: u16) -> u64 {
        let size = u64::from(size);
        Self::rings(size) + size * u64::from(INDIRECT_ENTRIES) * DESCRIPTOR_SIZE
    }

    /// Descriptor table, available ring and used ring, each with its event field, each at a multiple of 64.
    fn rings(size: u64) -> u64 {
        size * DESCRIPTOR_SIZE + (size * 2 + 6).next_multiple_of(64) + (size * 8 + 6).next_multiple_of(64)
    }

    /// A queue of `size` in `ram` at `memory`, with the negotiated `features`.
    ///
    /// # Panics
    /// It does not lie in RAM.
    pub fn new(ram: GuestRam, size: u16, memory: u64, features: u64) -> Self {
        let wide = u64::from(size);
        ram.write_slice(&vec![0; usize::try_from(Self::rings(wide)).unwrap()], GuestAddress(memory)).unwrap();
        let available = memory + wide * DESCRIPTOR_SIZE;
        Self {
            ram,
            size,
            descriptors: memory,
            available,
            used: available + (wide * 2 + 6).next_multiple_of(64),
            tables: memory + Self::rings(wide),
            event_idx: features & 1 << VIRTIO_RING_F_EVENT_IDX != 0,
            indirect: features & 1 << VIRTIO_RING_F_INDIRECT_DESC != 0,
            style: Style::Direct,
            next: (1..=size).collect(),
            free_head: 0,
            free: size,
            lengths: vec![0; usize::from(size)],
            available_index: 0,
            kicked_index: 0,
            used_index: 0,
        }
    }

    /// Addresses of the descriptor table, the available ring and the used ring.
    pub fn addresses(&self) -> [u64; 3] {
        [self.descriptors, self.available, self.used]
    }

    /// The number of its descriptors.
    pub fn size(&self) -> u16 {
        self.size
    }

    /// The number of free descriptors.
    pub fn free(&self) -> u16 {
        self.free
    }

    /// Makes a chain available; its head, or nothing if there is no room.
    ///
    /// # Panics
    /// The chain is empty or too long for an indirect table.
    pub fn add(&mut self, buffers: &[Buffer]) -> Option<u16> {
        assert!(!buffers.is_empty() && buffers.len() <= usize::from(INDIRECT_ENTRIES));
        let head = self.free_head;
        let indirect = self.indirect && self.style == Style::Indirect && buffers.len() > 1;
        let needed = if indirect { 1 } else { u16::try_from(buffers.len()).ok()? };
        if needed > self.free {
            return None;
        }
        if indirect {
            self.fill_table(head, buffers);
        } else {
            self.fill_descriptors(buffers);
        }
        self.lengths[usize::from(head)] = needed;
        self.free -= needed;
        self.publish(head);
        Some(head)
    }

    fn fill_table(&mut self, head: u16, buffers: &[Buffer]) {
        let table = self.tables + u64::from(head) * u64::from(INDIRECT_ENTRIES) * DESCRIPTOR_SIZE;
        for (at, buffer) in (0..).zip(buffers) {
            let last = usize::from(at) + 1 == buffers.len();
            self.write(table, at, *buffer, if last { 0 } else { VRING_DESC_F_NEXT }, at + 1);
        }
        let len = u32::try_from(buffers.len()).unwrap() * 16;
        let table = Buffer { address: table, len, writable: false };
        self.write(self.descriptors, head, table, VRING_DESC_F_INDIRECT, 0);
        self.free_head = self.next[usize::from(head)];
    }

    fn fill_descriptors(&mut self, buffers: &[Buffer]) {
        for (at, buffer) in (1..).zip(buffers) {
            let descriptor = self.free_head;
            let next = self.next[usize::from(descriptor)];
            let flags = if at == buffers.len() { 0 } else { VRING_DESC_F_NEXT };
            self.write(self.descriptors, descriptor, *buffer, flags, next);
            self.free_head = next;
        }
    }

    fn write(&self, table: u64, index: u16, buffer: Buffer, flags: u32, next: u16) {
        let flags = flags | if buffer.writable { VRING_DESC_F_WRITE } else { 0 };
        self.write_descriptor_at(table, index, buffer, u16::try_from(flags).unwrap(), next);
    }

    /// Writes any descriptor, for chains that a driver must not make.
    pub fn write_descriptor(&self, index: u16, address: u64, len: u32, flags: u16, next: u16) {
        let buffer = Buffer { address, len, writable: false };
        self.write_descriptor_at(self.descriptors, index, buffer, flags, next);
    }

    fn write_descriptor_at(&self, table: u64, index: u16, buffer: Buffer, flags: u16, next: u16) {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&buffer.address.to_le_bytes());
        bytes[8..12].copy_from_slice(&buffer.len.to_le_bytes());
        bytes[12..14].copy_from_slice(&flags.to_le_bytes());
        bytes[14..].copy_from_slice(&next.to_le_bytes());
        self.ram.write_slice(&bytes, GuestAddress(table + u64::from(index) * DESCRIPTOR_SIZE)).unwrap();
    }

    /// Makes the chain at `head`, whatever it is, available.
    pub fn publish(&mut self, head: u16) {
        self.store(self.available + 4 + u64::from(self.available_index % self.size) * 2, head);
        self.available_index = self.available_index.wrapping_add(1);
        self.set_available_index(self.available_index);
    }

    /// Writes the available ring's index, for rings that a driver must not make.
    pub fn set_available_index(&self, index: u16) {
        let address = GuestAddress(self.available + 2);
        self.ram.store(index.to_le(), address, Ordering::Release).unwrap();
    }

    /// Whether the device wants a doorbell for what was added since the last call.
    pub fn wants_kick(&mut self) -> bool {
        fence(Ordering::SeqCst);
        let (old, new) = (self.kicked_index, self.available_index);
        self.kicked_index = new;
        if self.event_idx {
            let event = self.load(self.used + 4 + u64::from(self.size) * 8);
            new.wrapping_sub(event).wrapping_sub(1) < new.wrapping_sub(old)
        } else {
            u32::from(self.load(self.used)) & VRING_USED_F_NO_NOTIFY == 0
        }
    }

    /// Takes the next chain that the device gave back.
    ///
    /// # Panics
    /// It gave back what it did not have.
    pub fn take_used(&mut self) -> Option<Used> {
        let index: u16 = self.ram.load(GuestAddress(self.used + 2), Ordering::Acquire).unwrap();
        if u16::from_le(index) == self.used_index {
            return None;
        }
        let mut bytes = [0; 8];
        let at = self.used + 4 + u64::from(self.used_index % self.size) * 8;
        self.ram.read_slice(&mut bytes, GuestAddress(at)).unwrap();
        let [a, b, c, d, len @ ..] = bytes;
        let head = u16::try_from(u32::from_le_bytes([a, b, c, d])).unwrap();
        self.used_index = self.used_index.wrapping_add(1);
        self.release(head);
        Some(Used { head, written: u32::from_le_bytes(len) })
    }

    fn release(&mut self, head: u16) {
        let length = std::mem::take(&mut self.lengths[usize::from(head)]);
        assert_ne!(length, 0, "device gave back chain {head}, which it did not have");
        let mut last = head;
        for _ in 1..length {
            last = self.next[usize::from(last)];
        }
        self.next[usize::from(last)] = self.free_head;
        self.free_head = head;
        self.free += length;
    }

    /// Asks for an interrupt at the next used chain; true if there is one already.
    pub fn enable_interrupt(&mut self) -> bool {
        if self.event_idx {
            self.store(self.available + 4 + u64::from(self.size) * 2, self.used_index);
        } else {
            self.store(self.available, 0);
        }
        fence(Ordering::SeqCst);
        self.load(self.used + 2) != self.used_index
    }

    /// Asks for no interrupts, if the driver can say so (without `EVENT_IDX`).
    pub fn disable_interrupt(&mut self) {
        if !self.event_idx {
            self.store(self.available, u16::try_from(VRING_AVAIL_F_NO_INTERRUPT).unwrap());
        }
    }

    fn load(&self, address: u64) -> u16 {
        u16::from_le(self.ram.load(GuestAddress(address), Ordering::Relaxed).unwrap())
    }

    fn store(&self, address: u64, value: u16) {
        self.ram.store(value.to_le(), GuestAddress(address), Ordering::Relaxed).unwrap();
    }
}
