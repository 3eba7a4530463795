//! A writer of EROFS, Linux's read-only file system (`fs/erofs/erofs_fs.h`): uncompressed, blocks of 4 KiB.
//!
//! The bytes of files go into the image as they arrive, before it is known what the tree will be in the end. So an image
//! is: the block with the superblock, the bytes of files, the blocks of large directories, shared extended attributes,
//! inodes. Linux 5.15 and later mount it.

mod directory;
mod format;
mod hole;
mod layout;
mod output;
mod stream;
mod xattr;

use std::{
    fs::File,
    io::{self, Read},
};

use anyhow::{Context, Result, ensure};

use crate::tree::{Content, Tree};
use output::Output;
use stream::Stream;

pub use xattr::is_kept;

/// Bytes of a block.
pub const BLOCK: u64 = 4096;
/// The most blocks of an image: addresses of blocks have 32 bits, and the last is none.
pub const MOST_BLOCKS: u64 = u32::MAX as u64;
/// The most bytes of a file (16 TiB), that of the image.
pub const MOST_FILE: u64 = 1 << 44;

/// Files of at most so many bytes are kept in memory and put beside their inodes: they take no block of their own.
const MOST_INLINE: u64 = 2048;
/// The most bytes of all such files together.
const MOST_INLINE_TOTAL: u64 = 64 << 20;

/// Writes an image: bytes of files first, then, with [`Writer::finish`], all else.
///
/// The same calls with the same bytes make the same image. Nothing is flushed to the disk: what must be durable is the
/// caller's to `fsync`, by a handle of its own.
#[derive(Debug)]
pub struct Writer {
    output: Output,
    /// The first block that nothing lies in.
    next: u64,
    /// Bytes of files that are kept in memory.
    inline: u64,
    window: Vec<u8>,
}

impl Writer {
    /// Begins an image in `file`, whose content goes away.
    pub fn new(file: File) -> Result<Self> {
        file.set_len(0).context("emptying the image")?;
        Ok(Self { output: Output::new(file), next: 1, inline: 0, window: Vec::new() })
    }

    /// Stores a file's `size` bytes, and reads no more of `reader` than these. Blocks of zeros become holes.
    pub fn store(&mut self, size: u64, reader: &mut dyn Read) -> Result<Content> {
        self.store_segments(size, &[(0, size)], reader)
    }

    /// Stores a file of `size` bytes of which only `segments` (offset and length, in ascending order) are in `reader`,
    /// one after the other; the rest is a hole.
    pub fn store_segments(
        &mut self,
        size: u64,
        segments: &[(u64, u64)],
        reader: &mut dyn Read,
    ) -> Result<Content> {
        ensure!(size <= MOST_FILE, "a file of {size} bytes is larger than an image can hold ({MOST_FILE})");
        let mut end = 0;
        for &(offset, length) in segments {
            let after = offset.checked_add(length).filter(|after| offset >= end && *after <= size);
            end = after.with_context(|| {
                format!("a sparse file of {size} bytes has {length} bytes at {offset}, out of order or outside of it")
            })?;
        }
        if size <= MOST_INLINE && self.inline + size <= MOST_INLINE_TOTAL {
            return self.store_inline(size, segments, reader);
        }
        let mut stream = Stream::new(size, self.next, &mut self.window);
        let result = segments
            .iter()
            .try_for_each(|&(offset, length)| stream.read(offset, length, reader, &mut self.output))
            .and_then(|()| stream.flush(&mut self.output));
        let (content, next) = stream.end();
        self.next = next;
        if let Err(error) = result {
            self.discard(content)?;
            return Err(error);
        }
        Ok(content)
    }

    /// Gives back what a file held that is in no tree. The host keeps the space where it cannot make holes.
    #[expect(clippy::needless_pass_by_value, reason = "what is given back must not be used again")]
    pub fn discard(&mut self, content: Content) -> Result<()> {
        self.inline = self.inline.saturating_sub(content.inline.len() as u64);
        for extent in &content.extents {
            let end = extent.length.next_multiple_of(BLOCK).saturating_add(extent.image_offset);
            self.output.punch(extent.image_offset..end.min(self.next * BLOCK))?;
        }
        Ok(())
    }

    /// Writes all that is known of the files of `tree`, whose contents this writer has stored, and the superblock with
    /// `uuid`. Returns the bytes of the image. Extended attributes that EROFS has no name for ([`is_kept`]) are left out.
    pub fn finish(mut self, tree: &Tree, uuid: [u8; 16]) -> Result<u64> {
        let size = layout::write(&mut self.output, self.next, tree, uuid)?;
        self.output.finish(size).context("writing the image")?;
        Ok(size)
    }

    fn store_inline(&mut self, size: u64, segments: &[(u64, u64)], reader: &mut dyn Read) -> Result<Content> {
        let at = |offset: u64| usize::try_from(offset).map_err(io::Error::other);
        let mut inline = vec![0; at(size)?].into_boxed_slice();
        for &(offset, length) in segments {
            read_exact(reader, &mut inline[at(offset)?..at(offset + length)?], offset, size)?;
        }
        self.inline += size;
        Ok(Content { size, extents: Vec::new(), inline })
    }
}

/// Reads bytes of a file that is `size` bytes long, from `offset` on.
fn read_exact(reader: &mut dyn Read, bytes: &mut [u8], offset: u64, size: u64) -> Result<()> {
    reader.read_exact(bytes).with_context(|| {
        let length = bytes.len();
        format!("reading {length} bytes at {offset} of a file of {size} bytes")
    })
}

#[cfg(test)]
mod tests;
