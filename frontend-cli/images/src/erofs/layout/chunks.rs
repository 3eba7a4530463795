//! The parts of files with holes.

use anyhow::{Result, ensure};

use crate::{
    erofs::{BLOCK, format::Layout, stream::MOST_CHUNKS},
    tree::Content,
};

/// A hole in a map of chunks (`EROFS_NULL_ADDR`).
const HOLE: u32 = u32::MAX;
/// Chunks have at most 2²⁰ blocks: 4096 of them are the largest file.
const MOST_BITS: u32 = 20;

/// How a stored file is told of: as a whole if it has no hole. Refuses one that this image cannot hold: its blocks are
/// not below `end`.
pub(super) fn layout(content: &Content, end: u64) -> Result<Layout> {
    let blocks = content.size.div_ceil(BLOCK);
    let mut bits = blocks.next_power_of_two().trailing_zeros().min(MOST_BITS);
    let mut after = 0;
    for extent in &content.extents {
        let range = extent.file_range();
        let image = extent.image_offset / BLOCK;
        ensure!(
            range.start >= after
                && !range.is_empty()
                && range.end <= content.size
                && range.start % BLOCK == 0
                && (range.end % BLOCK == 0 || range.end == content.size)
                && extent.image_offset % BLOCK == 0
                && image > 0
                && image.saturating_add(extent.length.div_ceil(BLOCK)) <= end,
            "a file's bytes are not in this image: {extent:?}"
        );
        after = range.end;
        if range == (0..content.size) {
            return Ok(Layout::Plain(u32::try_from(image)?));
        }
        bits = bits.min((range.start / BLOCK).trailing_zeros());
        if range.end < content.size {
            bits = bits.min((range.end / BLOCK).trailing_zeros());
        }
    }
    let bits = u8::try_from(bits)?;
    ensure!(count(content.size, bits) <= MOST_CHUNKS, "a file of {} bytes has too many holes", content.size);
    Ok(if blocks == 0 { Layout::Plain(0) } else { Layout::Chunks(bits) })
}

/// How many chunks of 2ⁿ blocks a file of `size` bytes has.
pub(super) fn count(size: u64, bits: u8) -> u64 {
    size.div_ceil(BLOCK << bits)
}

/// The first block of each chunk of a file that [`layout`] took.
pub(super) fn map(content: &Content, bits: u8) -> impl Iterator<Item = u8> {
    let chunk = BLOCK << bits;
    let mut extents = content.extents.iter().peekable();
    let blocks = (0..count(content.size, bits)).map(move |index| {
        let at = index * chunk;
        while extents.next_if(|extent| extent.file_range().end <= at).is_some() {}
        match extents.peek() {
            Some(extent) if extent.file_offset <= at => {
                u32::try_from((extent.image_offset + (at - extent.file_offset)) / BLOCK).unwrap_or(HOLE)
            }
            _ => HOLE,
        }
    });
    blocks.flat_map(u32::to_le_bytes)
}
