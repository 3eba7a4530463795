//! Ethernet frames: those of the guest as they stand, those for it as they are made.

use std::net::IpAddr;

use smoltcp::wire::{ETHERNET_HEADER_LEN, EthernetAddress, EthernetFrame, EthernetProtocol, IpProtocol};

use crate::user::link::{ip_header_len, write_ip_with};

/// The Ethernet address of all stations.
pub(super) const BROADCAST: [u8; 6] = [0xff; 6];

/// A frame of the guest.
pub(super) struct Ethernet<'a> {
    pub(super) source: [u8; 6],
    pub(super) destination: [u8; 6],
    pub(super) protocol: EthernetProtocol,
    pub(super) payload: &'a [u8],
}

impl<'a> Ethernet<'a> {
    /// The frame in `bytes`, if it is one of a single station.
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let frame = EthernetFrame::new_checked(bytes).ok()?;
        let source = frame.src_addr();
        (source.is_unicast() && source.0 != [0; 6]).then(|| Self {
            source: source.0,
            destination: frame.dst_addr().0,
            protocol: frame.ethertype(),
            payload: frame.payload(),
        })
    }

    /// Whether the station `own` takes the frame: it or a group is addressed, and it did not send it itself.
    pub(super) fn is_for(&self, own: [u8; 6]) -> bool {
        self.source != own && (self.destination == own || !EthernetAddress(self.destination).is_unicast())
    }
}

/// What an IP header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    pub(super) protocol: IpProtocol,
    pub(super) hop_limit: u8,
}

/// The frame with one IP packet, not cut into fragments; `None` if such a packet cannot be.
pub(super) fn frame(from: [u8; 6], to: [u8; 6], header: &Header, payload: &[u8]) -> Option<Vec<u8>> {
    let Header { source, destination, protocol, hop_limit } = *header;
    let header_len = ip_header_len(source);
    // What IPv4 tells is the length of all, what IPv6 tells that of the payload.
    let (kind, told) = match (source, destination) {
        (IpAddr::V4(_), IpAddr::V4(_)) => (EthernetProtocol::Ipv4, header_len.checked_add(payload.len())?),
        (IpAddr::V6(_), IpAddr::V6(_)) => (EthernetProtocol::Ipv6, payload.len()),
        _ => return None,
    };
    u16::try_from(told).ok()?;
    let mut bytes = empty(from, to, kind, header_len + payload.len());
    let packet = &mut bytes[ETHERNET_HEADER_LEN..];
    write_ip_with(hop_limit, packet, source, destination, protocol.into(), payload.len());
    packet[header_len..].copy_from_slice(payload);
    Some(bytes)
}

/// A frame whose `len` bytes of payload are zero.
pub(super) fn empty(from: [u8; 6], to: [u8; 6], protocol: EthernetProtocol, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; ETHERNET_HEADER_LEN + len];
    let mut frame = EthernetFrame::new_unchecked(&mut bytes[..]);
    frame.set_src_addr(EthernetAddress(from));
    frame.set_dst_addr(EthernetAddress(to));
    frame.set_ethertype(protocol);
    bytes
}

/// The Ethernet address of an IPv6 group (RFC 2464, 7).
pub(super) fn group(address: std::net::Ipv6Addr) -> [u8; 6] {
    let [.., a, b, c, d] = address.octets();
    [0x33, 0x33, a, b, c, d]
}
