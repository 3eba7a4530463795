//! A split virtqueue from the driver's side (VIRTIO 1.2, 2.7), in the arena of a core.

use crate::{
    machine::{self, load, store},
    transport::{Device, NEEDS_RESET},
};

pub const NEXT: u16 = 1;
pub const WRITE: u16 = 2;
pub const INDIRECT: u16 = 4;
/// The sizes that this guest gives its queues fit a page.
pub const MOST: u16 = 64;
/// So many microseconds a driver waits for its chains before it goes on: a busy host needs some to wake a device.
const PATIENCE: u64 = 4000;

#[derive(Clone, Copy)]
pub struct Queue {
    pub index: u64,
    pub size: u16,
    pub descriptors: u64,
    pub available: u64,
    pub used: u64,
    /// The next descriptor to take.
    free: u16,
    /// Chains made available.
    pub offered: u16,
}

#[derive(Clone, Copy, Default)]
pub struct Descriptor {
    pub address: u64,
    pub len: u32,
    pub flags: u16,
    pub next: u16,
}

impl Descriptor {
    pub fn store(&self, at: u64) {
        store(at, self.address);
        store(at + 8, self.len);
        store(at + 12, self.flags);
        store(at + 14, self.next);
    }
}

impl Queue {
    /// Queue `index` in its page of the arena, empty.
    pub fn new(index: u64, size: u16, arena: u64) -> Self {
        let page = arena + index * 0x1000;
        let queue =
            Self { index, size, descriptors: page, available: page + 0x800, used: page + 0xc00, free: 0, offered: 0 };
        for offset in (0..0x1000).step_by(8) {
            store(page + offset, 0_u64);
        }
        queue
    }

    /// The address of a descriptor.
    pub fn descriptor(&self, number: u16) -> u64 {
        self.descriptors + u64::from(number % self.size) * 16
    }

    /// So many descriptors in a row.
    pub fn take(&mut self, count: u16) -> u16 {
        let first = self.free % self.size;
        self.free = (first + count) % self.size;
        first
    }

    /// Makes the chain at `head` available.
    pub fn offer(&mut self, head: u16) {
        store(self.available + 4 + u64::from(self.offered % self.size) * 2, head);
        self.offered = self.offered.wrapping_add(1);
        store(self.available + 2, self.offered);
    }

    /// Chains that came back.
    pub fn returned(&self) -> u16 {
        load(self.used + 2)
    }

    /// Waits a little until all chains are back; says how many are.
    pub fn wait(&self, device: &Device) -> u16 {
        let start = machine::microseconds();
        while machine::microseconds().wrapping_sub(start) & machine::MICROSECONDS < PATIENCE {
            if self.returned() == self.offered || device.status() & NEEDS_RESET != 0 {
                break;
            }
        }
        self.returned()
    }
}
