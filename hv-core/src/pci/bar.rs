//! `Bar`: a window of registers that the guest may move; `Windows`: where the segment decodes and places them.

use std::ops::Range;

use super::registers::{Registers, offset};

/// Base address registers of a type 0 header.
pub(super) const COUNT: u8 = 6;

/// A memory BAR (PCI Local Bus 3.0, 6.2.5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bar {
    /// Bytes: a power of two, at least 16.
    pub size: u64,
    /// It may lie anywhere in 64 bits and takes two registers.
    pub wide: bool,
    /// Loads have no side effects and stores may be merged.
    pub prefetchable: bool,
}

/// The guest-physical addresses at which BARs decode.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Windows {
    /// Below 4 GiB.
    pub low: Range<u64>,
    /// Above, for 64-bit BARs.
    pub high: Range<u64>,
}

/// Gives out addresses as firmware would: upwards, each BAR aligned to its size.
pub(super) struct Allocator {
    free: Windows,
}

impl Bar {
    /// A BAR of `size` bytes that lies anywhere in 64 bits.
    pub fn memory64(size: u64) -> Self {
        Self { size, wide: true, prefetchable: false }
    }

    /// A BAR of `size` bytes below 4 GiB.
    pub fn memory32(size: u64) -> Self {
        Self { size, wide: false, prefetchable: false }
    }

    /// The same, prefetchable.
    pub fn prefetchable(self) -> Self {
        Self { prefetchable: true, ..self }
    }

    /// The registers it takes as number `index`.
    pub(super) fn registers(&self, index: u8) -> Range<u8> {
        index..index.saturating_add(if self.wide { 2 } else { 1 })
    }

    /// Whether such a BAR can be number `index`.
    pub(super) fn is_valid_at(&self, index: u8) -> bool {
        let largest = if self.wide { 1 << 63 } else { 1 << 31 };
        self.size.is_power_of_two()
            && (16..=largest).contains(&self.size)
            && self.registers(index).end <= COUNT
    }

    /// Writes the register, or both, as firmware leaves them with the BAR at `address`, and which of
    /// their bits a guest may change: a store of all ones thus reads back as the size's complement.
    pub(super) fn define(&self, index: u8, address: u64, registers: &mut Registers) {
        let bytes = if self.wide { 8 } else { 4 };
        let flags = u64::from(self.wide) << 2 | u64::from(self.prefetchable) << 3;
        registers.define(register(index), &(address | flags).to_le_bytes()[..bytes]);
        registers.allow(register(index), &(!(self.size - 1)).to_le_bytes()[..bytes]);
    }

    /// The address that the registers hold.
    pub(super) fn address(&self, index: u8, registers: &Registers) -> u64 {
        let low = u64::from(registers.dword(register(index)) & !0xf);
        let high = if self.wide { registers.dword(register(index) + 4) } else { 0 };
        u64::from(high) << 32 | low
    }
}

/// The offset of register `index`, which [`Bar::is_valid_at`] has checked.
fn register(index: u8) -> usize {
    offset::BAR0 + 4 * usize::from(index)
}

impl Windows {
    /// Whether `size` bytes at `base` lie in one of the windows.
    pub(super) fn hold(&self, base: u64, size: u64) -> bool {
        let within = |window: &Range<u64>, end| window.start <= base && end <= window.end;
        base.checked_add(size).is_some_and(|end| within(&self.low, end) || within(&self.high, end))
    }
}

impl Allocator {
    /// All of `windows` is free.
    pub(super) fn new(windows: Windows) -> Self {
        Self { free: windows }
    }

    /// An address for `bar`: above 4 GiB if it can be there and there is room.
    pub(super) fn place(&mut self, bar: &Bar) -> Option<u64> {
        let high = if bar.wide { take(&mut self.free.high, bar.size) } else { None };
        high.or_else(|| take(&mut self.free.low, bar.size))
    }
}

/// The first `size` bytes of `free` that are aligned to their size.
fn take(free: &mut Range<u64>, size: u64) -> Option<u64> {
    let base = free.start.checked_next_multiple_of(size)?;
    let end = base.checked_add(size).filter(|end| *end <= free.end)?;
    free.start = end;
    Some(base)
}
