//! A driver that keeps no rule: what it may store where a device looks for a virtqueue.

use hv_core::memory::GuestRam;

use crate::{Input, ram};

/// Where a virtqueue lies.
#[derive(Clone, Copy)]
pub(crate) struct Rings {
    pub(crate) descriptors: u64,
    pub(crate) available: u64,
    pub(crate) used: u64,
    pub(crate) size: u16,
}

/// Behind the orderly queues.
pub(crate) const BUFFERS: u64 = 0x3000;

/// Descriptor flags: next, write, indirect.
pub(crate) const NEXT: u16 = 1;
pub(crate) const WRITE: u16 = 2;
pub(crate) const INDIRECT: u16 = 4;

const DESCRIPTOR_SIZE: u64 = 16;

impl Rings {
    /// Virtqueue `queue` (0 to 5) of at most 64 descriptors at an orderly place in [`ram::two_pieces`], below
    /// [`BUFFERS`].
    pub(crate) fn orderly(queue: u16, size: u16) -> Self {
        let base = u64::from(queue) * 0x800;
        Self { descriptors: base, available: base + 0x400, used: base + 0x500, size }
    }

    /// Anywhere.
    pub(crate) fn any(input: &mut Input<'_>, size: u16) -> Self {
        let mut place = |align: u64| match input.u8() {
            0 => input.number(),
            1..=8 => ram::HIGH + input.below(0x1000) / align * align,
            _ => input.below(ram::LOW as u64) / align * align,
        };
        Self { descriptors: place(16), available: place(2), used: place(4), size }
    }

    /// Stores a piece of the rings, whole or torn.
    pub(crate) fn scribble(&self, ram: &GuestRam, input: &mut Input<'_>) {
        let slots = u64::from(self.size).max(1);
        match input.u8() % 10 {
            0..=2 => {
                let at = self.descriptors.wrapping_add(input.below(slots) * DESCRIPTOR_SIZE);
                ram::store(ram, at, &descriptor(input, slots));
            }
            // A descriptor in an indirect table, where `descriptor` puts them.
            3 => {
                let at = INDIRECT_TABLES + input.below(32) * DESCRIPTOR_SIZE;
                ram::store(ram, at, &descriptor(input, 32));
            }
            4 | 5 => self.offer(ram, input.below(slots + 1)),
            6 => ram::store(ram, self.available.wrapping_add(2), &input.u16().to_le_bytes()),
            7 => {
                let at = self.available.wrapping_add(4 + input.below(slots + 1) * 2);
                ram::store(ram, at, &input.u16().to_le_bytes());
            }
            8 => ram::store(ram, self.available, &input.below(4).to_le_bytes()[..2]),
            _ => {
                let at = input.below(ram::LOW as u64);
                let most = usize::from(input.u8() & 0x1f);
                ram::store(ram, at, input.bytes(most));
            }
        }
    }

    /// Makes the chain at `head` available, as a driver does.
    pub(crate) fn offer(&self, ram: &GuestRam, head: u64) {
        if !ram::holds(ram, self.available, 4) || self.size == 0 {
            return;
        }
        let index = ram::read(ram, self.available + 2, 2);
        let index = u16::from_le_bytes([index[0], index[1]]);
        let slot = self.available + 4 + u64::from(index % self.size) * 2;
        ram::store(ram, slot, &head.to_le_bytes()[..2]);
        ram::store(ram, self.available + 2, &index.wrapping_add(1).to_le_bytes());
    }

    /// Puts a chain of buffers into the descriptors from `first` on, round the table's end, and makes it available.
    pub(crate) fn chain(&self, ram: &GuestRam, first: u16, buffers: &[(u64, u32, bool)]) {
        let first = first % self.size.max(1);
        for (index, (position, (address, len, writable))) in (first..).zip((1..).zip(buffers)) {
            let next = if position < buffers.len() { NEXT } else { 0 };
            let flags = next | if *writable { WRITE } else { 0 };
            let bytes = encode(*address, *len, flags, (index + 1) % self.size.max(1));
            let slot = u64::from(index % self.size.max(1));
            let at = self.descriptors.wrapping_add(slot * DESCRIPTOR_SIZE);
            ram::store(ram, at, &bytes);
        }
        self.offer(ram, first.into());
    }
}

/// Where indirect tables are likely.
const INDIRECT_TABLES: u64 = 0x6000;

fn descriptor(input: &mut Input<'_>, slots: u64) -> [u8; 16] {
    let flags = input.below(256);
    let flags = u16::try_from(if flags < 0xf0 { flags & 3 } else { flags & 7 }).unwrap_or_default();
    let address = match input.u8() {
        0 => input.number(),
        1..=0x1f => ram::HIGH + input.below(0x1000),
        _ => input.below(ram::LOW as u64),
    };
    let address = if flags & INDIRECT != 0 { INDIRECT_TABLES + address % 64 * 16 } else { address };
    let len = match input.u8() {
        kind @ 0..=0xbf if flags & INDIRECT != 0 => u32::from(kind % 33) * 16,
        0..=0x7f => u32::from(input.u8()),
        0x80..=0xef => u32::from(input.u16()),
        _ => input.u32(),
    };
    let next = match input.u8() {
        0xff => input.u16(),
        next => u16::try_from(u64::from(next) % slots).unwrap_or_default(),
    };
    encode(address, len, flags, next)
}

fn encode(address: u64, len: u32, flags: u16, next: u16) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&address.to_le_bytes());
    bytes[8..12].copy_from_slice(&len.to_le_bytes());
    bytes[12..14].copy_from_slice(&flags.to_le_bytes());
    bytes[14..].copy_from_slice(&next.to_le_bytes());
    bytes
}

/// One descriptor as a model of the protocol reads it.
pub(crate) struct Descriptor {
    pub(crate) address: u64,
    pub(crate) len: u32,
    pub(crate) flags: u16,
    pub(crate) next: u16,
}

impl Descriptor {
    /// Number `index` of the table at `table`, if that is in RAM.
    pub(crate) fn read(ram: &GuestRam, table: u64, index: u16) -> Option<Self> {
        let address = table.checked_add(u64::from(index) * DESCRIPTOR_SIZE)?;
        if !ram::holds(ram, address, DESCRIPTOR_SIZE) {
            return None;
        }
        let bytes = ram::read(ram, address, 16);
        let (address, rest) = bytes.split_first_chunk()?;
        let (len, rest) = rest.split_first_chunk()?;
        let (flags, next) = rest.split_first_chunk()?;
        Some(Self {
            address: u64::from_le_bytes(*address),
            len: u32::from_le_bytes(*len),
            flags: u16::from_le_bytes(*flags),
            next: u16::from_le_bytes(*next.first_chunk()?),
        })
    }
}
