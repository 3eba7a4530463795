//! Lengths of frames and what is before them, as chains count.

use crate::net::{FRAME_HEADER_SIZE, MAX_FRAME};

/// Bytes of the header before each frame.
pub(super) const HEADER: u32 = 12;

/// Bytes of an Ethernet header: no frame is shorter.
pub(super) const SHORTEST_FRAME: u32 = 14;

/// The longest frame.
pub(super) const LONGEST_FRAME: u32 = SHORTEST_FRAME + 65_535;

/// Bytes of a VLAN tag.
const VLAN_TAG: u32 = 4;

const _: () = assert!(HEADER as usize == FRAME_HEADER_SIZE && LONGEST_FRAME as usize == MAX_FRAME);

/// The longest frame that is not to be cut, by an MTU.
pub(super) fn longest_plain(mtu: u16) -> u32 {
    SHORTEST_FRAME + VLAN_TAG + u32::from(mtu)
}
