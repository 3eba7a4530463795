//! The configuration space of a block device (VIRTIO 1.2, 5.2.4).

use super::request::{MAX_DISCARD_RANGES, MAX_DISCARD_SECTORS, MAX_ZERO_RANGES, MAX_ZERO_SECTORS};
use crate::block::SECTOR_SIZE;

/// Its length with all the fields that our features fill.
pub(super) const CONFIG_LEN: usize = 60;

/// Image files and disks of today work in 4 KiB; that is 2^3 sectors.
const PHYSICAL_BLOCK_EXPONENT: u8 = 3;
const PHYSICAL_BLOCK_SECTORS: u8 = 1 << PHYSICAL_BLOCK_EXPONENT;

/// The configuration space of a disk of `capacity` bytes.
pub(super) fn space(capacity: u64, queue_size: u16, queues: u16) -> [u8; CONFIG_LEN] {
    // A request is a header, its data and a status byte.
    let seg_max = u32::from(queue_size) - 2;
    let fields: [(usize, &[u8]); 11] = [
        (0, &(capacity / SECTOR_SIZE).to_le_bytes()),
        (12, &seg_max.to_le_bytes()),
        (20, &512_u32.to_le_bytes()),
        // Topology: exponent of the physical block, no offset, smallest good request in sectors, no largest.
        (24, &[PHYSICAL_BLOCK_EXPONENT, 0, PHYSICAL_BLOCK_SECTORS, 0]),
        (34, &queues.to_le_bytes()),
        (36, &MAX_DISCARD_SECTORS.to_le_bytes()),
        (40, &MAX_DISCARD_RANGES.to_le_bytes()),
        (44, &u32::from(PHYSICAL_BLOCK_SECTORS).to_le_bytes()),
        (48, &MAX_ZERO_SECTORS.to_le_bytes()),
        (52, &MAX_ZERO_RANGES.to_le_bytes()),
        // Zeroing may give the space back.
        (56, &[1]),
    ];
    let mut config = [0; CONFIG_LEN];
    for (offset, value) in fields {
        config[offset..offset + value.len()].copy_from_slice(value);
    }
    config
}
