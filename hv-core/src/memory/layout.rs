//! `RamLayout`: which guest-physical addresses are RAM. Pure arithmetic.

use std::ops::Range;

/// Guest RAM comes in multiples of this many bytes: the largest page of any host.
pub const GRANULE: u64 = 64 << 10;

/// Which guest-physical addresses are RAM: from 0 up, around one hole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RamLayout {
    /// One or two ranges, sorted, each a multiple of [`GRANULE`], none empty.
    ranges: Vec<Range<u64>>,
}

/// The RAM does not fit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// There is none.
    #[error("a guest cannot run with 0 bytes of memory: give it --memory 512M or so")]
    Empty,
    /// Its size is no multiple of [`GRANULE`].
    #[error("memory of {0} bytes is no multiple of {granule} KiB: round it to whole MiB", granule = GRANULE >> 10)]
    Granule(u64),
    /// It passes the end of what the guest can address.
    #[error("memory of {} MiB is more than this machine can address: give at most --memory {}M", size >> 20, most >> 20)]
    TooLarge {
        /// Bytes asked for.
        size: u64,
        /// Most bytes that fit.
        most: u64,
    },
}

impl RamLayout {
    /// Lays `size` bytes from address 0 up; what would lie in `hole` goes behind it, and nothing reaches
    /// `limit`. All are in bytes; the ends of the hole and the limit are multiples of [`GRANULE`].
    ///
    /// # Errors
    /// `size` is 0 or no multiple of [`GRANULE`], or does not fit below `limit`.
    pub fn new(size: u64, hole: Range<u64>, limit: u64) -> Result<Self, LayoutError> {
        if size == 0 {
            return Err(LayoutError::Empty);
        }
        if !size.is_multiple_of(GRANULE) {
            return Err(LayoutError::Granule(size));
        }
        let below = hole.start.min(limit);
        let most = below.saturating_add(limit.saturating_sub(hole.end));
        if size > most {
            return Err(LayoutError::TooLarge { size, most });
        }
        // Cannot overflow: size <= most, so what lies above the hole ends at or below `limit`.
        let low = size.min(below);
        let high = hole.end..hole.end + (size - low);
        Ok(Self { ranges: [0..low, high].into_iter().filter(|range| !range.is_empty()).collect() })
    }

    /// The addresses that are RAM: sorted, without overlap, none empty.
    pub fn ranges(&self) -> &[Range<u64>] {
        &self.ranges
    }

    /// Bytes of RAM in all.
    pub fn size(&self) -> u64 {
        self.ranges.iter().map(|range| range.end - range.start).sum()
    }

    /// End of the RAM that begins at address 0.
    pub fn low_end(&self) -> u64 {
        self.ranges.first().filter(|range| range.start == 0).map_or(0, |range| range.end)
    }
}

#[cfg(test)]
mod tests;
