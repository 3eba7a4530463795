//! Disks behind a block device: what any of them can do, and the forms that hv has.

pub mod file;
pub mod memory;

use std::{io, ops::Range};

use crate::memory::GuestBuffer;

/// Bytes of a sector, the unit of addresses on a disk.
pub const SECTOR_SIZE: u64 = 512;

/// A disk. Shared by all queues of a block device: calls come from several threads at once.
///
/// Offsets and ranges are in bytes and lie within the capacity; the block device has checked them.
pub trait BlockBackend: Send + Sync {
    /// Its size in bytes, a multiple of [`SECTOR_SIZE`].
    fn capacity(&self) -> u64;

    /// Whether it refuses to be changed.
    fn read_only(&self) -> bool;

    /// Fills `buffer` with the bytes from `offset` on.
    ///
    /// # Errors
    /// The host could not read them all.
    fn read_at(&self, offset: u64, buffer: GuestBuffer<'_>) -> io::Result<()>;

    /// Stores the bytes of `buffer` from `offset` on.
    ///
    /// # Errors
    /// The host could not write them all; how many it wrote is unknown.
    fn write_at(&self, offset: u64, buffer: GuestBuffer<'_>) -> io::Result<()>;

    /// Makes every write that returned before this call durable.
    ///
    /// # Errors
    /// The host cannot promise it.
    fn flush(&self) -> io::Result<()>;

    /// Gives the space of `range` back to the host, which may ignore it. Its bytes then read as zero or as before.
    ///
    /// # Errors
    /// The host tried and failed.
    fn discard(&self, range: Range<u64>) -> io::Result<()>;

    /// Makes `range` read as zero, and gives its space back to the host if it `may_unmap`.
    ///
    /// # Errors
    /// The host could not zero it all.
    fn write_zeroes(&self, range: Range<u64>, may_unmap: bool) -> io::Result<()>;
}
