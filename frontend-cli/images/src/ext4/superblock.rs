//! The superblock of ext4 (`struct ext4_super_block`).

use super::{
    BLOCK, Disk,
    geometry::{FIRST_INODES, GROUP_BLOCKS, INODE},
    inodes::{JOURNAL, extent},
    low,
};
use crate::checksum::{START, crc32c};

/// `has_journal`, `ext_attr`, `dir_index`.
const COMPATIBLE: u32 = 0x4 | 0x8 | 0x20;
/// `filetype`, `extent`.
const INCOMPATIBLE: u32 = 0x2 | 0x40;
/// `sparse_super`, `large_file`, `huge_file`, `dir_nlink`, `extra_isize`, `metadata_csum`.
const READ_ONLY_COMPATIBLE: u32 = 0x1 | 0x2 | 0x8 | 0x20 | 0x40 | 0x400;

/// Bytes of the superblock.
const SIZE: usize = 1024;

impl Disk<'_> {
    /// The copy of a group.
    pub(super) fn superblock(&self, group: u32) -> Vec<u8> {
        let geometry = &self.geometry;
        let mut bytes = vec![0; SIZE];
        let mut put = |offset: usize, field: &[u8]| bytes[offset..][..field.len()].copy_from_slice(field);
        let numbers = [
            (0x00, geometry.inodes()),
            (0x04, geometry.blocks),
            (0x0c, geometry.free_blocks()),
            (0x10, geometry.inodes() - FIRST_INODES),
            (0x18, 2), // blocks of 2¹⁰⁺² bytes
            (0x1c, 2), // and clusters
            (0x20, GROUP_BLOCKS),
            (0x24, GROUP_BLOCKS),
            (0x28, geometry.group_inodes),
            (0x4c, 1), // inodes have a size of their own
            (0x54, FIRST_INODES),
            (0x5c, COMPATIBLE),
            (0x60, INCOMPATIBLE),
            (0x64, READ_ONLY_COMPATIBLE),
            (0xe0, JOURNAL),
            (0x100, 0xc), // mounted with extended attributes and access control lists
            (0x160, 1),   // directories are hashed with signed bytes, on every architecture
        ];
        for (offset, number) in numbers {
            put(offset, &number.to_le_bytes());
        }
        put(0x36, &u16::MAX.to_le_bytes()); // no check after some mounts
        put(0x38, &0xef53_u16.to_le_bytes());
        put(0x3a, &[1]); // clean
        put(0x3c, &[1]); // goes on after errors
        put(0x58, &low(INODE));
        put(0x5a, &low(group));
        put(0x68, &self.uuid);
        put(0x78, self.label.as_bytes());
        put(0xec, &self.uuid); // the seed of hashes
        put(0xfc, &[1, 1]); // half MD4; a copy of the journal's inode follows below
        put(0x10c, &extent(geometry.journal, geometry.journal_blocks));
        put(0x14c, &(geometry.journal_blocks * BLOCK as u32).to_le_bytes());
        put(0x15c, &[32, 0, 32, 0]); // bytes of inodes above the first 128, at least and as wished
        put(0x175, &[1]); // CRC-32C
        let checksum = crc32c(START, &bytes[..SIZE - 4]);
        bytes[SIZE - 4..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }
}
