//! `ExitCounts`: how often the guest had to be left, by kind.

use std::fmt;

/// Exits to the machine, by kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ExitCounts {
    /// Loads from device memory.
    pub mmio_reads: u64,
    /// Stores to device memory.
    pub mmio_writes: u64,
    /// `IN`.
    pub pio_reads: u64,
    /// `OUT`.
    pub pio_writes: u64,
    /// Kicks.
    pub kicks: u64,
}

impl ExitCounts {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.mmio_reads + self.mmio_writes + self.pio_reads + self.pio_writes + self.kicks
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.mmio_reads += other.mmio_reads;
        self.mmio_writes += other.mmio_writes;
        self.pio_reads += other.pio_reads;
        self.pio_writes += other.pio_writes;
        self.kicks += other.kicks;
    }
}

impl fmt::Display for ExitCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { mmio_reads, mmio_writes, pio_reads, pio_writes, kicks } = self;
        write!(
            f,
            "{} (mmio reads {mmio_reads}, mmio writes {mmio_writes}, \
             pio reads {pio_reads}, pio writes {pio_writes}, kicks {kicks})",
            self.total()
        )
    }
}
