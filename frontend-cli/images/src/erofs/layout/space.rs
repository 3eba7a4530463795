//! Room for inodes, without waste where a block ends.

use crate::erofs::{BLOCK, format::COMPACT};

/// The most gaps that are remembered.
const MOST_GAPS: usize = 16;

/// Where inodes lie, in bytes.
pub(super) struct Space {
    end: u64,
    /// Free places before the end, each inside a block: start and size, the oldest first.
    gaps: Vec<(u64, u64)>,
}

impl Space {
    /// Node number 0 stays unused: it is no inode number to programs.
    pub(super) fn new() -> Self {
        Self { end: COMPACT, gaps: Vec::new() }
    }

    /// Where the last one ends.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// A place for `size` bytes, at a multiple of 32; inside one block if `whole`.
    pub(super) fn place(&mut self, size: u64, whole: bool) -> u64 {
        let size = size.next_multiple_of(COMPACT);
        let fitting = self.gaps.iter().enumerate().filter(|(_, gap)| gap.1 >= size);
        if let Some((index, _)) = fitting.min_by_key(|(_, gap)| gap.1) {
            let (start, room) = self.gaps[index];
            if room == size {
                self.gaps.remove(index);
            } else {
                self.gaps[index] = (start + size, room - size);
            }
            return start;
        }
        let room = BLOCK - self.end % BLOCK;
        if whole && room < size {
            if self.gaps.len() == MOST_GAPS {
                self.gaps.remove(0);
            }
            self.gaps.push((self.end, room));
            self.end += room;
        }
        let start = self.end;
        self.end += size;
        start
    }
}
