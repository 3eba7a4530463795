//! Packets for the guest cut into fragments (RFC 791, 2.3; RFC 8200, 4.5).

use super::{
    link::seal_ipv4,
    packet::{ETHERNET, FRAGMENT, IPV4, IPV6},
};

/// Bytes of an IPv6 fragment header.
const FRAGMENT_HEADER: usize = 8;

/// The frames with the packet in `frame` in parts, of which none is longer than `mtu`. The packet's payload begins at
/// `transport`, behind a header without options or extensions.
pub(crate) fn fragments(
    frame: &[u8],
    transport: usize,
    mtu: usize,
    identification: u32,
) -> impl Iterator<Item = Vec<u8>> {
    let (headers, payload) = frame.split_at(transport);
    let is_ipv4 = transport == ETHERNET + IPV4;
    let room = mtu - if is_ipv4 { IPV4 } else { IPV6 + FRAGMENT_HEADER };
    let most = room & !7;
    payload.chunks(most).enumerate().map(move |(index, part)| {
        // No packet is longer than this counts.
        let offset = u16::try_from(index * most).unwrap_or(u16::MAX);
        let more = index * most + part.len() < payload.len();
        let mut bytes = headers.to_vec();
        let packet = &mut bytes[ETHERNET..];
        if is_ipv4 {
            let total = u16::try_from(IPV4 + part.len()).unwrap_or(u16::MAX).to_be_bytes();
            let [_, _, identification @ ..] = identification.to_be_bytes();
            packet[2..4].copy_from_slice(&total);
            packet[4..6].copy_from_slice(&identification);
            packet[6..8].copy_from_slice(&((offset / 8) | (u16::from(more) << 13)).to_be_bytes());
            seal_ipv4(packet);
        } else {
            let len = u16::try_from(FRAGMENT_HEADER + part.len()).unwrap_or(u16::MAX).to_be_bytes();
            packet[4..6].copy_from_slice(&len);
            let protocol = std::mem::replace(&mut packet[6], FRAGMENT);
            bytes.extend([protocol, 0]);
            bytes.extend((offset | u16::from(more)).to_be_bytes());
            bytes.extend(identification.to_be_bytes());
        }
        bytes.extend(part);
        bytes
    })
}
