//! Stage-2 translation: guest-physical addresses to themselves, with rights (Arm ARM D8.3, 4 KiB granule, from level 1).

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::error::{Error, Result};

const VALID: u64 = 1;
/// A table at levels 1 and 2, a page at level 3.
const TABLE: u64 = 2;
/// Normal write-back memory, inner shareable, accessed.
const MEMORY: u64 = 0xf << 2 | 3 << 8 | 1 << 10;
const READ: u64 = 1 << 6;
const WRITE: u64 = 1 << 7;
const NO_EXECUTE: u64 = 2 << 53;
const ADDRESS: u64 = 0x0000_ffff_ffff_f000;
const TABLE_WORDS: u64 = 512;
/// Bytes that an entry of each level stands for; level 1 first.
const SPAN: [u64; 3] = [1 << 30, 2 << 20, 4 << 10];

/// Rights of a region (`hv_memory_flags_t`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rights(u64);

impl Rights {
    /// `HV_MEMORY_READ`, `WRITE`, `EXEC` (bits 0 to 2) and nothing else.
    pub(crate) fn new(flags: u64) -> Result<Self> {
        if flags & !7 == 0 { Ok(Self(flags)) } else { Err(Error::BadArgument) }
    }

    fn bits(self) -> u64 {
        let set = |flag: u64, bits: u64| if self.0 & flag == 0 { 0 } else { bits };
        // Execution needs the right to read.
        MEMORY | set(1, READ) | set(2, WRITE) | if self.0 & 4 == 0 { NO_EXECUTE } else { 0 }
    }
}

/// The tables: which of the room's words are in use. Level 1 has two tables in a row, for 40 bits.
#[derive(Debug)]
pub(crate) struct Stage2 {
    used: u64,
}

impl Stage2 {
    pub(crate) fn new() -> Self {
        Self { used: 2 * TABLE_WORDS }
    }

    /// Sets what a range, in whole pages of 4 KiB, is to the guest; `None`: nothing. `words` lie at guest-physical `base`.
    pub(crate) fn set(
        &mut self,
        words: &[AtomicU64],
        base: u64,
        start: u64,
        size: u64,
        rights: Option<Rights>,
    ) -> Result<()> {
        let end = start.checked_add(size).ok_or(Error::BadArgument)?;
        let mut address = start;
        while address < end {
            address += self.set_entry(words, base, address, end, rights)?;
        }
        Ok(())
    }

    /// Sets the largest entry that begins at `address` and ends by `end`. Answers its span.
    fn set_entry(
        &mut self,
        words: &[AtomicU64],
        base: u64,
        address: u64,
        end: u64,
        rights: Option<Rights>,
    ) -> Result<u64> {
        let mut table = 0;
        for (level, span) in SPAN.iter().copied().enumerate() {
            let index = address / span % if level == 0 { 2 * TABLE_WORDS } else { TABLE_WORDS };
            let entry = word(words, table + index)?;
            let old = entry.load(Relaxed);
            let is_table = level < 2 && old & (VALID | TABLE) == VALID | TABLE;
            // A block where it fits; a table, once made, stays.
            if level == 2 || (!is_table && address.is_multiple_of(span) && end - address >= span) {
                let kind = if level == 2 { VALID | TABLE } else { VALID };
                entry.store(rights.map_or(0, |rights| address & ADDRESS | rights.bits() | kind), Relaxed);
                return Ok(span);
            }
            table = if is_table {
                ((old & ADDRESS) - base) / 8
            } else {
                let new = self.split(words, old, SPAN[level + 1], level == 1)?;
                entry.store((base + new * 8) | VALID | TABLE, Relaxed);
                new
            };
        }
        Err(Error::Failed)
    }

    /// A new table that says the same as the entry `old`, in entries of `span`.
    fn split(&mut self, words: &[AtomicU64], old: u64, span: u64, pages: bool) -> Result<u64> {
        let new = self.used;
        word(words, new + TABLE_WORDS - 1).map_err(|_| Error::NoResources)?;
        self.used += TABLE_WORDS;
        for index in 0..TABLE_WORDS {
            let same =
                if old & VALID == 0 { 0 } else { (old + index * span) | if pages { TABLE } else { 0 } };
            word(words, new + index)?.store(same, Relaxed);
        }
        Ok(new)
    }
}

fn word(words: &[AtomicU64], index: u64) -> Result<&AtomicU64> {
    usize::try_from(index).ok().and_then(|index| words.get(index)).ok_or(Error::NoResources)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: u64 = 1 << 41;

    /// What the tables say of an address: its entry's low attributes and address.
    fn walk(words: &[AtomicU64], address: u64) -> Option<(u64, bool)> {
        let mut table = 0;
        for (level, span) in SPAN.iter().copied().enumerate() {
            let index = address / span % if level == 0 { 1024 } else { 512 };
            let entry = word(words, table + index).ok()?.load(Relaxed);
            if entry & VALID == 0 {
                return None;
            }
            if level == 2 || entry & TABLE == 0 {
                assert_eq!(entry & TABLE != 0, level == 2);
                return Some(((entry & ADDRESS) + address % span, entry & WRITE != 0));
            }
            table = ((entry & ADDRESS) - BASE) / 8;
        }
        None
    }

    #[test]
    fn ranges_are_mapped_split_and_unmapped() {
        let words: Vec<AtomicU64> = (0..512 * 64).map(|_| AtomicU64::new(0)).collect();
        let mut tables = Stage2::new();
        let (all, read) = (Rights::new(7).unwrap(), Rights::new(1).unwrap());
        let start = 0x8000_0000 - 0x4000;
        let size = (1 << 30) + (4 << 20) + 0x8000;
        tables.set(&words, BASE, start, size, Some(all)).unwrap();
        for address in [start, 0x8000_0000, 0x9234_5678, start + size - 1] {
            assert_eq!(walk(&words, address), Some((address, true)), "{address:#x}");
        }
        assert_eq!((walk(&words, start - 1), walk(&words, start + size)), (None, None));
        tables.set(&words, BASE, 0x9234_4000, 0x4000, Some(read)).unwrap();
        assert_eq!(walk(&words, 0x9234_5678), Some((0x9234_5678, false)));
        assert_eq!(walk(&words, 0x9234_8000), Some((0x9234_8000, true)));
        assert_eq!(walk(&words, 0x9234_3fff), Some((0x9234_3fff, true)));
        tables.set(&words, BASE, start, size, None).unwrap();
        assert_eq!((walk(&words, start), walk(&words, 0x9234_5678)), (None, None));
        assert!(Rights::new(8).is_err());
    }

    #[test]
    fn no_room_is_an_error() {
        let words: Vec<AtomicU64> = (0..512 * 3).map(|_| AtomicU64::new(0)).collect();
        let mut tables = Stage2::new();
        assert_eq!(tables.set(&words, BASE, 0x4000, 0x4000, None), Err(Error::NoResources));
    }
}
