//! Which pieces of a sparse file have data (GNU tar, "Storing Sparse Files").

use std::io::Read;

use anyhow::{Context, Result, ensure};

use super::header::BLOCK;
use crate::limits::MOST_SEGMENTS;

/// A piece of a sparse file that has data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Where it lies in the file.
    pub offset: u64,
    /// Bytes.
    pub size: u64,
}

/// Checks that the pieces follow one another inside the file and are as long as the data stored for them.
pub(super) fn check(size: u64, segments: &[Segment], stored: u64) -> Result<()> {
    let (mut end, mut sum) = (0_u64, 0_u64);
    for segment in segments {
        let next = segment.offset.checked_add(segment.size).filter(|next| *next <= size);
        ensure!(segment.offset >= end, "pieces of a sparse file that overlap at {}", segment.offset);
        end = next.with_context(|| format!("a sparse file of {size} bytes with a piece at {}", segment.offset))?;
        sum += segment.size;
    }
    ensure!(sum == stored, "a sparse file whose pieces are {sum} bytes, with {stored} bytes of data");
    ensure!(size <= i64::MAX as u64, "a size of {size} bytes");
    Ok(())
}

/// Reads the map of the form 1.0, in whole blocks in front of the data: a count, then offsets and sizes, a line each.
pub(super) fn read_map(data: &mut dyn Read, taken: &mut u64) -> Result<Vec<Segment>> {
    let mut lines = Lines { data, block: [0; BLOCK], at: BLOCK, taken };
    let count = usize::try_from(lines.number()?).unwrap_or(usize::MAX);
    ensure!(count <= MOST_SEGMENTS, "a sparse file of {count} pieces: {MOST_SEGMENTS} are the most");
    let mut segments = Vec::new();
    for _ in 0..count {
        segments.push(Segment { offset: lines.number()?, size: lines.number()? });
    }
    Ok(segments)
}

struct Lines<'a> {
    data: &'a mut dyn Read,
    block: [u8; BLOCK],
    at: usize,
    taken: &'a mut u64,
}

impl Lines<'_> {
    fn number(&mut self) -> Result<u64> {
        let mut digits = Vec::new();
        loop {
            if self.at == BLOCK {
                self.data.read_exact(&mut self.block).context("truncated in the map of a sparse file")?;
                *self.taken += BLOCK as u64;
                self.at = 0;
            }
            let byte = self.block[self.at];
            self.at += 1;
            if byte == b'\n' {
                return natural(&digits).context("a damaged map of a sparse file");
            }
            ensure!(digits.len() < 20, "a damaged map of a sparse file");
            digits.push(byte);
        }
    }
}

/// A decimal number.
pub(super) fn natural(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |value, digit| {
        digit.is_ascii_digit().then_some(())?;
        value.checked_mul(10)?.checked_add(u64::from(digit - b'0'))
    })
}
