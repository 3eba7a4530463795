//! An empty ext4 with a journal on a sparse file (`Documentation/filesystems/ext4` of Linux).
//!
//! What can be computed is not written: groups whose bitmaps and inodes nobody used are only marked so (`uninit`), which
//! checksums of the metadata make safe. So a disk of any size costs some hundred kilobytes.

mod geometry;
mod inodes;
mod journal;
mod superblock;

use std::{fs::File, os::unix::fs::FileExt};

use anyhow::{Context, Result, ensure};

use crate::checksum::{START, crc32c};
use geometry::Geometry;

/// The smallest disk, bytes.
pub const LEAST_SIZE: u64 = 64 << 20;
/// The largest disk, bytes.
pub const MOST_SIZE: u64 = 1 << 40;
/// The most bytes of a label.
pub const MOST_LABEL: usize = 16;

/// Bytes of a block.
const BLOCK: usize = 4096;

/// Group descriptors without the 64-bit half.
const DESCRIPTOR: usize = 32;
/// Its inodes and their bitmap were never used.
const INODES_UNUSED: u16 = 1;
/// Its bitmap of blocks was never written.
const BLOCKS_UNUSED: u16 = 2;
/// Its table of inodes is zero where it is not used.
const INODES_ZEROED: u16 = 4;

/// Makes `file` a disk of `size` bytes with an empty ext4: a root directory (0755, owner root), `lost+found`, a journal.
/// Whatever was in the file goes away. The same arguments make the same bytes; nothing is flushed to the disk.
pub fn format_empty(file: &File, size: u64, label: &str, uuid: [u8; 16]) -> Result<()> {
    ensure!(
        (LEAST_SIZE..=MOST_SIZE).contains(&size),
        "a disk of {size} bytes: {} MiB to {} GiB are possible",
        LEAST_SIZE >> 20,
        MOST_SIZE >> 30
    );
    ensure!(
        label.len() <= MOST_LABEL && !label.contains('\0'),
        "`{label}` is no label: at most {MOST_LABEL} bytes"
    );
    let geometry = Geometry::of(size)?;
    let disk = Disk { geometry, seed: crc32c(START, &uuid), label, uuid };
    file.set_len(0).and_then(|()| file.set_len(size)).context("making room for the disk")?;
    disk.write(file).context("writing the empty file system")
}

/// What is the same in the whole file system.
struct Disk<'a> {
    geometry: Geometry,
    /// What checksums begin with: the checksum of the UUID.
    seed: u32,
    label: &'a str,
    uuid: [u8; 16],
}

impl Disk<'_> {
    fn write(&self, file: &File) -> Result<()> {
        let geometry = &self.geometry;
        let write = |block: u32, bytes: &[u8]| file.write_all_at(bytes, u64::from(block) * BLOCK as u64);
        for (block, bytes) in self.directories() {
            write(block, &bytes)?;
        }
        write(geometry.inode_table(0), &self.inodes())?;
        write(geometry.journal, &self.journal())?;
        let mut descriptors = Vec::with_capacity(geometry.descriptor_blocks as usize * BLOCK);
        for group in 0..geometry.groups {
            let bitmap = self.block_bitmap(group);
            if let Some(bitmap) = &bitmap {
                write(geometry.block_bitmap(group), bitmap)?;
            }
            let inode_bitmap = (group == 0).then(|| geometry.inode_bitmap_bytes());
            if let Some(bitmap) = &inode_bitmap {
                write(geometry.inode_bitmap(group), bitmap)?;
            }
            descriptors.extend(self.descriptor(group, bitmap.as_deref(), inode_bitmap.as_deref()));
        }
        for group in (0..geometry.groups).filter(|group| geometry::has_superblock(*group)) {
            // The first stands behind the boot sector.
            let offset = if group == 0 { 1024 } else { 0 };
            let at = u64::from(geometry.group_start(group)) * BLOCK as u64 + offset;
            file.write_all_at(&self.superblock(group), at)?;
            write(geometry.group_start(group) + 1, &descriptors)?;
        }
        Ok(())
    }

    /// The bitmap of a group's blocks; nothing if it can be computed. That of the last group is always written.
    fn block_bitmap(&self, group: u32) -> Option<Vec<u8>> {
        let geometry = &self.geometry;
        if group != 0 && group + 1 != geometry.groups {
            return None;
        }
        let mut bitmap = vec![0; BLOCK];
        set(&mut bitmap, 0, geometry.used_blocks(group));
        set(&mut bitmap, geometry.blocks_in(group), geometry::GROUP_BLOCKS);
        Some(bitmap)
    }

    fn descriptor(&self, group: u32, blocks: Option<&[u8]>, inodes: Option<&[u8]>) -> [u8; DESCRIPTOR] {
        let geometry = &self.geometry;
        let mut bytes = [0; DESCRIPTOR];
        let mut put = |offset: usize, field: &[u8]| bytes[offset..][..field.len()].copy_from_slice(field);
        put(0, &geometry.block_bitmap(group).to_le_bytes());
        put(4, &geometry.inode_bitmap(group).to_le_bytes());
        put(8, &geometry.inode_table(group).to_le_bytes());
        put(12, &low(geometry.blocks_in(group) - geometry.used_blocks(group)));
        let used_inodes = if group == 0 { geometry::FIRST_INODES } else { 0 };
        put(14, &low(geometry.group_inodes - used_inodes));
        put(16, &low(if group == 0 { 2 } else { 0 })); // directories
        let mut flags = INODES_ZEROED;
        match blocks {
            Some(bitmap) => put(24, &low(crc32c(self.seed, bitmap))),
            None => flags |= BLOCKS_UNUSED,
        }
        match inodes {
            Some(bitmap) => {
                let bitmap = &bitmap[..geometry.group_inodes as usize / 8];
                put(26, &low(crc32c(self.seed, bitmap)));
            }
            None => flags |= INODES_UNUSED,
        }
        put(18, &flags.to_le_bytes());
        put(28, &low(geometry.group_inodes - used_inodes));
        let checksum = crc32c(crc32c(self.seed, &group.to_le_bytes()), &bytes);
        bytes[30..].copy_from_slice(&low(checksum));
        bytes
    }
}

/// The low half of a field.
fn low(value: u32) -> [u8; 2] {
    let [one, two, ..] = value.to_le_bytes();
    [one, two]
}

/// The high half of a field.
fn high(value: u32) -> [u8; 2] {
    let [.., three, four] = value.to_le_bytes();
    [three, four]
}

/// Sets the bits from `start` up to `end`.
fn set(bitmap: &mut [u8], start: u32, end: u32) {
    for bit in start..end {
        bitmap[bit as usize / 8] |= 1 << (bit % 8);
    }
}

#[cfg(test)]
mod tests;
