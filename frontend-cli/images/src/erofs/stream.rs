//! The bytes of one file on their way into the image.

use std::io::Read;

use anyhow::{Result, ensure};

use super::{BLOCK, MOST_BLOCKS, output::Output, read_exact};
use crate::tree::{Content, Extent};

/// Bytes that are read at once.
const WINDOW: u64 = 256 << 10;
/// The most chunks of a file: its map has 4 bytes for each.
pub(super) const MOST_CHUNKS: u64 = 4096;

static ZEROS: [u8; BLOCK as usize] = [0; BLOCK as usize];

/// Takes parts of a file in ascending order. The image has room for whole chunks (a power of two of blocks, larger for
/// larger files) that are not all zero; blocks of zeros in them are holes of the image's file only.
pub(super) struct Stream<'a> {
    size: u64,
    chunk_blocks: u64,
    extents: Vec<Extent>,
    /// The chunk that has room in the image, and its first block there.
    chunk: Option<(u64, u64)>,
    /// The image's next free block.
    next: u64,
    /// Bytes of the file from `start` on, a multiple of the window's size; what is missing of a window is zero.
    window: &'a mut Vec<u8>,
    start: u64,
}

impl<'a> Stream<'a> {
    pub(super) fn new(size: u64, next: u64, window: &'a mut Vec<u8>) -> Self {
        window.clear();
        let chunk_blocks = size.div_ceil(BLOCK).div_ceil(MOST_CHUNKS).max(1).next_power_of_two();
        Self { size, chunk_blocks, extents: Vec::new(), chunk: None, next, window, start: 0 }
    }

    /// Takes `length` bytes of the file from `offset` on.
    pub(super) fn read(
        &mut self,
        mut offset: u64,
        mut length: u64,
        reader: &mut dyn Read,
        output: &mut Output,
    ) -> Result<()> {
        while length > 0 {
            let start = offset - offset % WINDOW;
            if start != self.start {
                self.flush(output)?;
                self.start = start;
            }
            let part = length.min(start + WINDOW - offset);
            let at = usize::try_from(offset - start)?;
            self.window.resize(at, 0);
            self.window.resize(at + usize::try_from(part)?, 0);
            read_exact(reader, &mut self.window[at..], offset, self.size)?;
            offset += part;
            length -= part;
        }
        Ok(())
    }

    /// Writes what the window holds.
    pub(super) fn flush(&mut self, output: &mut Output) -> Result<()> {
        self.window.resize(self.window.len().next_multiple_of(BLOCK as usize), 0);
        let mut file_block = self.start / BLOCK;
        for at in (0..self.window.len()).step_by(BLOCK as usize) {
            if self.window[at..at + BLOCK as usize] != ZEROS {
                let image_block = self.place(file_block)?;
                output.write(image_block * BLOCK, &self.window[at..at + BLOCK as usize])?;
            }
            file_block += 1;
        }
        self.window.clear();
        Ok(())
    }

    /// What was stored, and the image's next free block.
    pub(super) fn end(self) -> (Content, u64) {
        (Content { size: self.size, extents: self.extents, inline: Box::default() }, self.next)
    }

    /// The image's block for a block of the file. Makes room for the whole chunk.
    fn place(&mut self, file_block: u64) -> Result<u64> {
        let index = file_block / self.chunk_blocks;
        let first = index * self.chunk_blocks;
        let image = match self.chunk {
            Some((chunk, image)) if chunk == index => image,
            _ => {
                let blocks = self.chunk_blocks.min(self.size.div_ceil(BLOCK) - first);
                ensure!(self.next + blocks <= MOST_BLOCKS, "the image would be larger than 16 TiB");
                let image = self.next;
                self.next += blocks;
                self.chunk = Some((index, image));
                self.extend(first * BLOCK, image * BLOCK, blocks * BLOCK);
                image
            }
        };
        Ok(image + (file_block - first))
    }

    fn extend(&mut self, file_offset: u64, image_offset: u64, length: u64) {
        let length = length.min(self.size - file_offset);
        if let Some(last) = self.extents.last_mut()
            && last.file_offset + last.length == file_offset
            && last.image_offset + last.length == image_offset
        {
            last.length += length;
        } else {
            self.extents.push(Extent { file_offset, length, image_offset });
        }
    }
}
