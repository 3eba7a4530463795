//! Disks behind a block device: what any of them can do, and the forms that hv has.

pub mod file;
pub mod memory;
mod volatile_io;

use std::{io, ops::Range};

use vm_memory::Bytes;

use crate::memory::{GuestMemoryMmap, Segment};

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

/// Guest RAM that a disk reads into or writes from, in pieces.
#[derive(Debug, Clone, Copy)]
pub struct GuestBuffer<'a> {
    /// The RAM that the segments are in.
    pub ram: &'a GuestMemoryMmap,
    /// The pieces, in the order of the bytes on the disk.
    pub segments: &'a [Segment],
}

impl GuestBuffer<'_> {
    /// Its length in bytes.
    pub fn len(&self) -> u64 {
        self.segments.iter().map(|segment| u64::from(segment.len)).sum()
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Copies the start of the buffer to `bytes`, as much as both have; says how much.
    ///
    /// # Errors
    /// A segment is not RAM.
    pub fn copy_to(&self, bytes: &mut [u8]) -> io::Result<usize> {
        let mut copied = 0;
        for segment in self.segments {
            let rest = &mut bytes[copied..];
            let len = rest.len().min(segment.len as usize);
            self.ram.read_slice(&mut rest[..len], segment.address).map_err(io::Error::other)?;
            copied += len;
        }
        Ok(copied)
    }

    /// Copies `bytes` to the start of the buffer, as much as both have; says how much.
    ///
    /// # Errors
    /// A segment is not RAM.
    pub fn copy_from(&self, bytes: &[u8]) -> io::Result<usize> {
        let mut copied = 0;
        for segment in self.segments {
            let rest = &bytes[copied..];
            let len = rest.len().min(segment.len as usize);
            self.ram.write_slice(&rest[..len], segment.address).map_err(io::Error::other)?;
            copied += len;
        }
        Ok(copied)
    }
}
