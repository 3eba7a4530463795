//! Writing to the image's file: at any place, large pieces at once.

use std::{fs::File, io, mem, ops::Range, os::unix::fs::FileExt};

use super::hole;

/// Bytes that are gathered before they are written.
const GATHERED: usize = 1 << 20;
/// Zeros are written over a gap of at most so many bytes, which was never written to: one write is cheaper than two.
const MOST_GAP: u64 = 4096;

/// A file that is written from its beginning to its end, for the most part.
#[derive(Debug)]
pub(super) struct Output {
    file: File,
    gathered: Vec<u8>,
    /// Where the gathered bytes go.
    offset: u64,
    /// Whether the host makes holes in this file.
    holes: bool,
}

impl Output {
    pub(super) fn new(file: File) -> Self {
        Self { file, gathered: Vec::with_capacity(GATHERED), offset: 0, holes: true }
    }

    /// Writes where nothing was written before, not earlier than the last write.
    pub(super) fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let end = self.offset + self.gathered.len() as u64;
        match offset.checked_sub(end) {
            Some(gap) if gap <= if self.gathered.is_empty() { 0 } else { MOST_GAP } => {
                let zeros = usize::try_from(gap).map_err(io::Error::other)?;
                self.gathered.resize(self.gathered.len() + zeros, 0);
            }
            _ => {
                self.flush()?;
                self.offset = offset;
            }
        }
        if bytes.len() >= GATHERED && self.gathered.is_empty() {
            self.file.write_all_at(bytes, offset)?;
            self.offset = offset + bytes.len() as u64;
            return Ok(());
        }
        self.gathered.extend_from_slice(bytes);
        if self.gathered.len() >= GATHERED { self.flush() } else { Ok(()) }
    }

    /// Gives the space of whole blocks back, if the host can.
    pub(super) fn punch(&mut self, range: Range<u64>) -> io::Result<()> {
        if !self.holes || range.is_empty() {
            return Ok(());
        }
        self.flush()?;
        self.holes = hole::punch(&self.file, range)?;
        Ok(())
    }

    /// Writes what is gathered, and makes the file `size` bytes long.
    pub(super) fn finish(mut self, size: u64) -> io::Result<()> {
        self.flush()?;
        self.file.set_len(size)
    }

    fn flush(&mut self) -> io::Result<()> {
        let mut gathered = mem::take(&mut self.gathered);
        self.file.write_all_at(&gathered, self.offset)?;
        self.offset += gathered.len() as u64;
        gathered.clear();
        self.gathered = gathered;
        Ok(())
    }
}
