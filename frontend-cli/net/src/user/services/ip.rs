//! IP packets of the guest as the services look at them: whole, with extensions to take out, or fragments.

use std::net::IpAddr;

use smoltcp::wire::IpProtocol;

use super::ethernet::Header;
use crate::user::packet;

/// A packet that is no fragment.
pub(super) struct Packet<'a> {
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    pub(super) protocol: IpProtocol,
    pub(super) hop_limit: u8,
    /// The packet from its IP header on.
    pub(super) bytes: &'a [u8],
    /// What follows the headers of IP.
    pub(super) payload: &'a [u8],
}

impl Packet<'_> {
    pub(super) fn header(&self) -> Header {
        Header {
            source: self.source,
            destination: self.destination,
            protocol: self.protocol,
            hop_limit: self.hop_limit,
        }
    }
}

/// A part of a packet.
pub(super) struct Fragment<'a> {
    /// The protocol is that of the whole packet if `offset` is 0.
    pub(super) header: Header,
    pub(super) identification: u32,
    /// Where in the packet's payload `data` belongs, in bytes.
    pub(super) offset: usize,
    /// Whether it is not the last part.
    pub(super) more: bool,
    pub(super) data: &'a [u8],
}

/// What a frame of IP holds.
pub(super) enum Form<'a> {
    Whole(Packet<'a>),
    /// A whole packet with IPv6 extension headers before its payload.
    Extended(Packet<'a>),
    Fragment(Fragment<'a>),
}

/// The IPv4 packet at the start of `bytes`; what follows it is Ethernet's padding.
pub(super) fn parse_v4(bytes: &[u8]) -> Option<Form<'_>> {
    let places = packet::Packet::parse_v4(bytes)?;
    let (header, payload) = (header(&places), &bytes[places.transport..places.end]);
    if places.is_fragment {
        let [_, _, _, _, a, b, high, low, ..] = *bytes else { return None };
        let place = u16::from_be_bytes([high, low]);
        return Some(Form::Fragment(Fragment {
            header,
            identification: u16::from_be_bytes([a, b]).into(),
            offset: usize::from(place & 0x1fff) * 8,
            more: place & 0x2000 != 0,
            data: payload,
        }));
    }
    Some(Form::Whole(whole(header, &bytes[..places.end], payload)))
}

/// The IPv6 packet at the start of `bytes`.
pub(super) fn parse_v6(bytes: &[u8]) -> Option<Form<'_>> {
    let places = packet::Packet::parse_v6(bytes)?;
    let (header, payload) = (header(&places), &bytes[places.transport..places.end]);
    if places.is_fragment {
        let ([next, _, high, low, identification @ ..], data) = payload.split_first_chunk::<8>()?;
        let offset = u16::from_be_bytes([*high, *low]);
        return Some(Form::Fragment(Fragment {
            header: Header { protocol: (*next).into(), ..header },
            identification: u32::from_be_bytes(*identification),
            offset: (offset & !7).into(),
            more: offset & 1 != 0,
            data,
        }));
    }
    if packet::EXTENSIONS.contains(&places.protocol) {
        return None;
    }
    let packet = whole(header, &bytes[..places.end], payload);
    Some(if places.transport == packet::IPV6 { Form::Whole(packet) } else { Form::Extended(packet) })
}

fn header(places: &packet::Packet) -> Header {
    let packet::Packet { source, destination, protocol, hop_limit, .. } = *places;
    Header { source, destination, protocol: protocol.into(), hop_limit }
}

fn whole<'a>(header: Header, bytes: &'a [u8], payload: &'a [u8]) -> Packet<'a> {
    let Header { source, destination, protocol, hop_limit } = header;
    Packet { source, destination, protocol, hop_limit, bytes, payload }
}
