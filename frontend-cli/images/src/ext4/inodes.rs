//! The inodes that an empty ext4 has, and its two directories.

use super::{BLOCK, Disk, geometry::INODE, high, low};
use crate::checksum::crc32c;

const ROOT: u32 = 2;
pub(super) const JOURNAL: u32 = 8;
const LOST_AND_FOUND: u32 = 11;

/// `EXT4_EXTENTS_FL`.
const EXTENTS: u32 = 0x8_0000;
/// Bytes of an inode's fields above the first 128 (`i_extra_isize`).
const EXTRA: u16 = 32;
/// Ends a block of a directory: an entry of no file, with the checksum.
const TAIL: usize = 12;

impl Disk<'_> {
    /// The part of the first group's table that has inodes in use.
    pub(super) fn inodes(&self) -> Vec<u8> {
        let geometry = &self.geometry;
        let mut table = vec![0; INODE as usize * LOST_AND_FOUND as usize];
        let inodes = [
            (ROOT, 0o040_755, 3, geometry.root, 1),
            (JOURNAL, 0o100_600, 1, geometry.journal, geometry.journal_blocks),
            (LOST_AND_FOUND, 0o040_700, 2, geometry.lost_and_found, 1),
        ];
        for (number, mode, links, start, blocks) in inodes {
            let inode = self.inode(number, mode, links, start, blocks);
            table[INODE as usize * (number as usize - 1)..][..INODE as usize].copy_from_slice(&inode);
        }
        table
    }

    fn inode(&self, number: u32, mode: u16, links: u16, start: u32, blocks: u32) -> [u8; INODE as usize] {
        let mut bytes = [0; INODE as usize];
        let mut put = |offset: usize, field: &[u8]| bytes[offset..][..field.len()].copy_from_slice(field);
        put(0, &mode.to_le_bytes());
        put(4, &(blocks * BLOCK as u32).to_le_bytes());
        put(26, &links.to_le_bytes());
        put(28, &(blocks * (BLOCK as u32 / 512)).to_le_bytes());
        put(32, &EXTENTS.to_le_bytes());
        put(40, &extent(start, blocks));
        put(128, &EXTRA.to_le_bytes());
        // Of the inode's number and generation (0) and the inode, with its own field zero.
        let seed = crc32c(crc32c(self.seed, &number.to_le_bytes()), &[0; 4]);
        let checksum = crc32c(seed, &bytes);
        bytes[124..126].copy_from_slice(&low(checksum));
        bytes[130..132].copy_from_slice(&high(checksum));
        bytes
    }

    /// The blocks of directories, with their places.
    pub(super) fn directories(&self) -> [(u32, Vec<u8>); 2] {
        let root = [(ROOT, &b"."[..]), (ROOT, b".."), (LOST_AND_FOUND, b"lost+found")];
        let lost_and_found = [(LOST_AND_FOUND, &b"."[..]), (ROOT, b"..")];
        [
            (self.geometry.root, self.directory(ROOT, &root)),
            (self.geometry.lost_and_found, self.directory(LOST_AND_FOUND, &lost_and_found)),
        ]
    }

    /// A block of directories' entries; the last takes the rest of the block.
    fn directory(&self, number: u32, entries: &[(u32, &[u8])]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(BLOCK);
        for (index, (inode, name)) in entries.iter().enumerate() {
            let end = if index + 1 == entries.len() {
                BLOCK - TAIL
            } else {
                (bytes.len() + 8 + name.len()).next_multiple_of(4)
            };
            bytes.extend(inode.to_le_bytes());
            // Inside a block of 4096 bytes; the name is one of ours.
            bytes.extend(u16::try_from(end + 4 - bytes.len()).unwrap_or_default().to_le_bytes());
            bytes.extend([u8::try_from(name.len()).unwrap_or_default(), 2]);
            bytes.extend(*name);
            bytes.resize(end, 0);
        }
        let seed = crc32c(crc32c(self.seed, &number.to_le_bytes()), &[0; 4]);
        let checksum = crc32c(seed, &bytes);
        bytes.extend([0, 0, 0, 0, 12, 0, 0, 0xde]);
        bytes.extend(checksum.to_le_bytes());
        bytes
    }
}

/// The tree of extents of a file that lies in one piece: header and one extent.
pub(super) fn extent(start: u32, blocks: u32) -> [u8; 60] {
    let mut bytes = [0; 60];
    bytes[..2].copy_from_slice(&0xf30a_u16.to_le_bytes());
    bytes[2] = 1; // extents
    bytes[4] = 4; // there is room for
    bytes[16..18].copy_from_slice(&low(blocks));
    bytes[20..24].copy_from_slice(&start.to_le_bytes());
    bytes
}
