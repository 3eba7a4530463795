//! `GuestBuffer`: guest RAM in pieces, filled from the host's files and sockets and written to them.

use std::io;

use vm_memory::Bytes;

use super::{GuestMemoryMmap, Segment};

/// Guest RAM that the host reads into or writes from, in pieces.
#[derive(Debug, Clone, Copy)]
pub struct GuestBuffer<'a> {
    /// The RAM that the segments are in.
    pub ram: &'a GuestMemoryMmap,
    /// The pieces, in the order of the host's bytes.
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
