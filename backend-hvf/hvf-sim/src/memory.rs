//! `hv_vm_map` and its kin: host memory at guest-physical addresses.
#![expect(unsafe_code, reason = "gives host memory to the guest")]

use std::{collections::BTreeMap, ffi::c_void};

use crate::{
    engine::TABLES,
    error::{Error, Result},
    stage2::{Rights, Stage2},
    vm::Vm,
};

/// The granule of what is mapped (header: addresses are page-aligned, sizes whole pages; an Apple page has 16 KiB; peer:
/// hyperlight#1681, 4 KiB only from macOS 26).
pub(crate) const GRANULE: u64 = 16 << 10;

/// What is mapped, and what the processor has: each by its start, without overlap.
#[derive(Debug)]
pub(crate) struct Memory {
    tables: Stage2,
    /// Sizes of what the guest sees.
    ranges: BTreeMap<u64, u64>,
    /// Host memory that the processor has. It keeps a mapping whole until the guest sees nothing of it any more, since each
    /// piece costs it: what the guest does not see is not in the tables, so that nobody looks there.
    backing: BTreeMap<u64, Backing>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Backing {
    size: u64,
    /// Address in this process.
    host: u64,
}

impl Memory {
    pub(crate) fn new() -> Self {
        Self { tables: Stage2::new(), ranges: BTreeMap::new(), backing: BTreeMap::new() }
    }

    /// How much of `start..end` is mapped.
    fn mapped(&self, start: u64, end: u64) -> u64 {
        let before = self.ranges.range(..end);
        before.map(|(base, size)| (base + size).min(end).saturating_sub((*base).max(start))).sum()
    }

    /// Whether the processor has the host's memory from `host` on at `start..end`.
    fn is_backed(&self, start: u64, end: u64, host: u64) -> bool {
        let below = self.backing.range(..=start).next_back();
        below.is_some_and(|(base, backing)| {
            end <= base + backing.size && backing.host.wrapping_add(start - base) == host
        })
    }

    /// The parts of `start..end` that the processor has.
    fn backed(&self, start: u64, end: u64) -> Vec<(u64, u64)> {
        let before = self.backing.range(..end);
        let parts = before.map(|(base, backing)| (start.max(*base), end.min(base + backing.size)));
        parts.filter(|(start, end)| start < end).collect()
    }

    /// The processor has `start..end` no more.
    fn forget(&mut self, start: u64, end: u64) {
        let cut: Vec<(u64, Backing)> = self
            .backing
            .range(..end)
            .map(|(base, backing)| (*base, *backing))
            .filter(|(base, backing)| base + backing.size > start)
            .collect();
        for (base, backing) in cut {
            self.backing.remove(&base);
            if base < start {
                self.backing.insert(base, Backing { size: start - base, ..backing });
            }
            let after = (base + backing.size).saturating_sub(end);
            if after > 0 {
                let host = backing.host.wrapping_add(end - base);
                self.backing.insert(end, Backing { size: after, host });
            }
        }
    }

    /// Mappings of the processor of which the guest sees nothing.
    fn unseen(&self, start: u64, end: u64) -> Vec<(u64, u64)> {
        let before = self.backing.range(..end).map(|(base, backing)| (*base, base + backing.size));
        before.filter(|(base, last)| *last > start && self.mapped(*base, *last) == 0).collect()
    }

    /// Takes `start..end` out of the ranges.
    fn remove(&mut self, start: u64, end: u64) {
        let cut: Vec<(u64, u64)> = self
            .ranges
            .range(..end)
            .map(|(base, size)| (*base, base + size))
            .filter(|(_, range_end)| *range_end > start)
            .collect();
        for (base, range_end) in cut {
            self.ranges.remove(&base);
            if base < start {
                self.ranges.insert(base, start - base);
            }
            if range_end > end {
                self.ranges.insert(end, range_end - end);
            }
        }
    }
}

/// Whole granules within the VM's addresses.
fn range(vm: &Vm, address: u64, size: u64) -> Result<u64> {
    let end = address.checked_add(size).ok_or(Error::BadArgument)?;
    let aligned = address.is_multiple_of(GRANULE) && size.is_multiple_of(GRANULE);
    if !aligned || size == 0 || end > 1 << vm.address_bits {
        return Err(Error::BadArgument);
    }
    Ok(end)
}

/// Bytes of a page of this host's, which host memory is aligned to (header: page-aligned). A Mac's has 16 KiB; where it has less,
/// memory of the host's own `mmap` begins anywhere.
fn page_size() -> usize {
    // SAFETY: it reads a constant.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(size).unwrap_or(1 << 12)
}

/// `hv_vm_map`. Model: what is mapped already cannot be mapped again.
///
/// # Safety
/// The memory is there until it is unmapped or the VM is gone, and may be written at any time.
pub(crate) unsafe fn map(vm: &Vm, host: *mut c_void, address: u64, size: u64, flags: u64) -> Result<()> {
    let end = range(vm, address, size)?;
    let rights = Rights::new(flags)?;
    if host.is_null() || !host.addr().is_multiple_of(page_size()) {
        return Err(Error::BadArgument);
    }
    let turn = vm.turns.take_at_once();
    let mut memory = vm.memory();
    if memory.mapped(address, end) != 0 {
        return Err(Error::BadArgument);
    }
    if !memory.is_backed(address, end, host.addr() as u64) {
        for (start, end) in memory.backed(address, end) {
            turn.unmap(start, end - start)?;
            memory.forget(start, end);
        }
        // SAFETY: as the caller says.
        unsafe { turn.map(address, host, size) }?;
        memory.backing.insert(address, Backing { size, host: host.addr() as u64 });
    }
    memory.tables.set(turn.tables(), TABLES, address, size, Some(rights))?;
    memory.ranges.insert(address, size);
    turn.flush_translations();
    Ok(())
}

/// `hv_vm_unmap`. Any part of what is mapped (peer: mvm#3478 unmaps pages of a balloon).
pub(crate) fn unmap(vm: &Vm, address: u64, size: u64) -> Result<()> {
    let end = range(vm, address, size)?;
    let turn = vm.turns.take_at_once();
    let mut memory = vm.memory();
    if memory.mapped(address, end) != size {
        return Err(Error::BadArgument);
    }
    memory.tables.set(turn.tables(), TABLES, address, size, None)?;
    memory.remove(address, end);
    for (start, end) in memory.unseen(address, end) {
        turn.unmap(start, end - start)?;
        memory.forget(start, end);
    }
    turn.flush_translations();
    Ok(())
}

/// `hv_vm_protect`.
pub(crate) fn protect(vm: &Vm, address: u64, size: u64, flags: u64) -> Result<()> {
    let end = range(vm, address, size)?;
    let rights = Rights::new(flags)?;
    let turn = vm.turns.take_at_once();
    let mut memory = vm.memory();
    if memory.mapped(address, end) != size {
        return Err(Error::BadArgument);
    }
    memory.tables.set(turn.tables(), TABLES, address, size, Some(rights))?;
    turn.flush_translations();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processor_keeps_a_mapping_until_nothing_of_it_is_seen() {
        let mut memory = Memory::new();
        memory.ranges.insert(0x1000, 0x4000);
        memory.backing.insert(0x1000, Backing { size: 0x4000, host: 0x7000 });
        memory.remove(0x2000, 0x3000);
        assert_eq!(memory.unseen(0x2000, 0x3000), []);
        assert!(memory.is_backed(0x2000, 0x3000, 0x8000), "the same memory again");
        assert!(!memory.is_backed(0x2000, 0x3000, 0x9000), "other memory");
        assert!(!memory.is_backed(0x4000, 0x6000, 0xa000), "beyond it");
        assert_eq!(memory.backed(0x2000, 0x9000), [(0x2000, 0x5000)]);
        memory.forget(0x2000, 0x3000);
        assert!(memory.is_backed(0x1000, 0x2000, 0x7000) && memory.is_backed(0x3000, 0x5000, 0x9000));
        memory.remove(0x3000, 0x5000);
        assert_eq!(memory.unseen(0x3000, 0x5000), [(0x3000, 0x5000)]);
    }

    #[test]
    fn ranges_are_cut() {
        let mut memory = Memory::new();
        memory.ranges.insert(0x1000, 0x3000);
        memory.ranges.insert(0x4000, 0x1000);
        assert_eq!(memory.mapped(0, 0x10000), 0x4000);
        assert_eq!((memory.mapped(0x2000, 0x3000), memory.mapped(0x5000, 0x6000)), (0x1000, 0));
        memory.remove(0x2000, 0x4800);
        assert_eq!(memory.ranges.iter().collect::<Vec<_>>(), [(&0x1000, &0x1000), (&0x4800, &0x800)]);
    }
}
