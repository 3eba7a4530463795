//! Guest RAM for tests.

use std::sync::Arc;

use crate::memory::{GuestAddress, GuestMemoryMmap, GuestRam};

/// RAM in ranges of (first guest-physical address, size in bytes).
///
/// # Panics
/// The ranges overlap, are not in order, or the host has no memory.
pub fn ram(ranges: &[(u64, usize)]) -> GuestRam {
    let ranges: Vec<_> = ranges.iter().map(|&(base, size)| (GuestAddress(base), size)).collect();
    Arc::new(GuestMemoryMmap::from_ranges(&ranges).expect("ranges of a test's RAM are valid"))
}
