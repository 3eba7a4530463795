//! Where things are on an ext4 disk: groups of 128 MiB, each with its own bitmaps and inodes.

use anyhow::{Context, Result};

use super::{BLOCK, DESCRIPTOR, set};

/// Blocks of a group: as many as a block has bits.
pub(super) const GROUP_BLOCKS: u32 = BLOCK as u32 * 8;
/// Bytes of an inode.
pub(super) const INODE: u32 = 256;
/// The inodes that are taken: those with special meaning, and `lost+found`.
pub(super) const FIRST_INODES: u32 = 11;
/// A last group with less free room than this is left out.
const LEAST_LAST_GROUP: u32 = 50;

/// Sizes and places, in blocks.
#[derive(Debug)]
pub(super) struct Geometry {
    pub(super) blocks: u32,
    pub(super) groups: u32,
    pub(super) group_inodes: u32,
    /// Blocks of group descriptors, behind each superblock.
    pub(super) descriptor_blocks: u32,
    pub(super) root: u32,
    pub(super) lost_and_found: u32,
    pub(super) journal: u32,
    pub(super) journal_blocks: u32,
}

impl Geometry {
    /// For a disk of `size` bytes.
    pub(super) fn of(size: u64) -> Result<Self> {
        let blocks = u32::try_from(size / BLOCK as u64).context("more than 2^32 blocks")?;
        // An inode for each 16 KiB, on small disks for each 4 KiB, as mke2fs does.
        let blocks_for_inode = if size < 512 << 20 { 1 } else { 4 };
        let group_inodes =
            (blocks.min(GROUP_BLOCKS) / blocks_for_inode).next_multiple_of(BLOCK as u32 / INODE);
        let mut geometry = Self {
            blocks,
            groups: 0,
            group_inodes,
            descriptor_blocks: 0,
            root: 0,
            lost_and_found: 0,
            journal: 0,
            journal_blocks: journal_blocks(blocks),
        };
        geometry.count_groups();
        let last = geometry.groups - 1;
        if last > 0 && geometry.blocks_in(last) < geometry.overhead(last) + LEAST_LAST_GROUP {
            geometry.blocks = geometry.group_start(last);
            geometry.count_groups();
        }
        geometry.root = geometry.overhead(0);
        geometry.lost_and_found = geometry.root + 1;
        geometry.journal = geometry.root + 2;
        Ok(geometry)
    }

    fn count_groups(&mut self) {
        self.groups = self.blocks.div_ceil(GROUP_BLOCKS);
        self.descriptor_blocks = (self.groups * DESCRIPTOR as u32).div_ceil(BLOCK as u32);
    }

    pub(super) fn inodes(&self) -> u32 {
        self.groups * self.group_inodes
    }

    pub(super) fn group_start(&self, group: u32) -> u32 {
        group * GROUP_BLOCKS
    }

    pub(super) fn blocks_in(&self, group: u32) -> u32 {
        (self.blocks - self.group_start(group)).min(GROUP_BLOCKS)
    }

    pub(super) fn block_bitmap(&self, group: u32) -> u32 {
        let backup = if has_superblock(group) { 1 + self.descriptor_blocks } else { 0 };
        self.group_start(group) + backup
    }

    pub(super) fn inode_bitmap(&self, group: u32) -> u32 {
        self.block_bitmap(group) + 1
    }

    pub(super) fn inode_table(&self, group: u32) -> u32 {
        self.block_bitmap(group) + 2
    }

    /// Blocks of a group that are no file's. They are its first.
    fn overhead(&self, group: u32) -> u32 {
        let inodes = (self.group_inodes * INODE).div_ceil(BLOCK as u32);
        self.inode_table(group) - self.group_start(group) + inodes
    }

    /// Blocks of a group that are not free. They are its first.
    pub(super) fn used_blocks(&self, group: u32) -> u32 {
        if group == 0 { self.journal + self.journal_blocks } else { self.overhead(group) }
    }

    pub(super) fn free_blocks(&self) -> u32 {
        (0..self.groups).map(|group| self.blocks_in(group) - self.used_blocks(group)).sum()
    }

    /// The bitmap of the first group's inodes; bits that stand for no inode are set.
    pub(super) fn inode_bitmap_bytes(&self) -> Vec<u8> {
        let mut bitmap = vec![0; BLOCK];
        set(&mut bitmap, 0, FIRST_INODES);
        set(&mut bitmap, self.group_inodes, BLOCK as u32 * 8);
        bitmap
    }
}

/// Whether a group has a copy of the superblock: 0, 1 and the powers of 3, 5 and 7 (`sparse_super`).
pub(super) fn has_superblock(group: u32) -> bool {
    let power_of = |base: u32| {
        let mut rest = group;
        while rest > 1 && rest.is_multiple_of(base) {
            rest /= base;
        }
        rest == 1
    };
    group <= 1 || [3, 5, 7].into_iter().any(power_of)
}

/// From 4 MiB to 64 MiB: a journal of more would only take more room on the host.
fn journal_blocks(blocks: u32) -> u32 {
    match blocks {
        ..32_768 => 1024,
        ..262_144 => 4096,
        ..524_288 => 8192,
        _ => 16_384,
    }
}
