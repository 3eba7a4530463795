//! Guest RAM as targets look at it: what changed, and where.

use std::ops::Range;

use hv_core::memory::{GuestAddress, GuestRam};
use vm_memory::{Bytes, GuestMemoryBackend, GuestMemoryRegion};

/// What RAM held at a moment.
#[derive(PartialEq, Eq)]
pub(crate) struct Snapshot {
    regions: Vec<(u64, Vec<u8>)>,
}

impl Snapshot {
    pub(crate) fn of(ram: &GuestRam) -> Self {
        let regions = ram.iter().map(|region| (region.start_addr().0, region.len()));
        let regions = regions.map(|(start, len)| (start, read(ram, start, usize::try_from(len).unwrap())));
        Self { regions: regions.collect() }
    }

    /// Checks that nothing outside `allowed` changed since.
    ///
    /// # Panics
    /// Something did.
    pub(crate) fn assert_same(&self, ram: &GuestRam, allowed: &[Range<u64>], what: &str) {
        for ((start, before), (_, after)) in self.regions.iter().zip(&Self::of(ram).regions) {
            if before == after {
                continue;
            }
            for (address, (before, after)) in (*start..).zip(before.iter().zip(after)) {
                let may = before == after || allowed.iter().any(|range| range.contains(&address));
                assert!(may, "{what} changed RAM at {address:#x}");
            }
        }
    }
}

/// `len` bytes of RAM, which are there.
pub(crate) fn read(ram: &GuestRam, address: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    ram.read_slice(&mut bytes, GuestAddress(address)).expect("a target reads RAM where there is some");
    bytes
}

/// Stores what of `bytes` RAM has room for; the guest's own store, so it may miss.
pub(crate) fn store(ram: &GuestRam, address: u64, bytes: &[u8]) {
    let _ = ram.write(bytes, GuestAddress(address));
}

/// Whether `len` bytes at `address` are in RAM, which has no two adjacent regions here.
pub(crate) fn holds(ram: &GuestRam, address: u64, len: u64) -> bool {
    ram.iter().any(|region| {
        let start = region.start_addr().0;
        address >= start && address.checked_add(len).is_some_and(|end| end <= start + region.len())
    })
}

/// RAM that targets of virtqueues use: little, in two pieces, so that edges are near.
pub(crate) fn two_pieces() -> GuestRam {
    hv_core::testing::ram(&[(0, LOW), (HIGH, PAGE)])
}

pub(crate) const PAGE: usize = 0x1000;
pub(crate) const LOW: usize = 0x8000;
pub(crate) const HIGH: u64 = 0x1_0000;
