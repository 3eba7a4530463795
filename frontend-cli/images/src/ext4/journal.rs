//! An empty journal (jbd2): its superblock, in network byte order, and blocks that were never written.

use super::{BLOCK, Disk};

const MAGIC: u32 = 0xc03b_3998;
/// A superblock of the second version.
const SUPERBLOCK: u32 = 4;

impl Disk<'_> {
    pub(super) fn journal(&self) -> Vec<u8> {
        let mut bytes = vec![0; BLOCK];
        let fields = [
            (0, MAGIC),
            (4, SUPERBLOCK),
            (12, BLOCK as u32),
            (16, self.geometry.journal_blocks),
            (20, 1), // the first block of the log
            (24, 1), // the first transaction's number; it starts nowhere, so there is nothing to replay
            (64, 1), // users
        ];
        for (offset, field) in fields {
            bytes[offset..][..4].copy_from_slice(&field.to_be_bytes());
        }
        bytes[48..64].copy_from_slice(&self.uuid);
        bytes
    }
}
