//! IP packets of the guest: what one says, whether it is whole, and where its payload begins.

use std::net::IpAddr;

use smoltcp::wire::{IpProtocol, Ipv4Packet, Ipv6Packet};

use super::ethernet::Header;

/// The shortest IPv4 header, in bytes.
const IPV4_HEADER: usize = 20;

/// Extension headers that are walked over in one packet. RFC 8200, 4.1 foresees each kind once, one twice.
const MAX_EXTENSIONS: usize = 8;

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
    let packet = Ipv4Packet::new_checked(bytes).ok()?;
    if packet.version() != 4 || usize::from(packet.header_len()) < IPV4_HEADER {
        return None;
    }
    let header = Header {
        source: packet.src_addr().into(),
        destination: packet.dst_addr().into(),
        protocol: packet.next_header(),
        hop_limit: packet.hop_limit(),
    };
    if packet.more_frags() || packet.frag_offset() != 0 {
        return Some(Form::Fragment(Fragment {
            header,
            identification: packet.ident().into(),
            offset: packet.frag_offset().into(),
            more: packet.more_frags(),
            data: packet.payload(),
        }));
    }
    let bytes = bytes.get(..packet.total_len().into())?;
    Some(Form::Whole(whole(header, bytes, packet.payload())))
}

/// The IPv6 packet at the start of `bytes`.
pub(super) fn parse_v6(bytes: &[u8]) -> Option<Form<'_>> {
    let packet = Ipv6Packet::new_checked(bytes).ok()?;
    if packet.version() != 6 {
        return None;
    }
    let mut header = Header {
        source: packet.src_addr().into(),
        destination: packet.dst_addr().into(),
        protocol: packet.next_header(),
        hop_limit: packet.hop_limit(),
    };
    let bytes = bytes.get(..packet.total_len())?;
    let mut payload = packet.payload();
    for extensions in 0..MAX_EXTENSIONS {
        match header.protocol {
            IpProtocol::HopByHop | IpProtocol::Ipv6Route | IpProtocol::Ipv6Opts => {
                let [next, len] = *payload.first_chunk()?;
                payload = payload.get((usize::from(len) + 1) * 8..)?;
                header.protocol = next.into();
            }
            IpProtocol::Ipv6Frag => {
                let ([next, _, high, low, identification @ ..], data) = payload.split_first_chunk::<8>()?;
                let offset = u16::from_be_bytes([*high, *low]);
                header.protocol = (*next).into();
                return Some(Form::Fragment(Fragment {
                    header,
                    identification: u32::from_be_bytes(*identification),
                    offset: (offset & !7).into(),
                    more: offset & 1 != 0,
                    data,
                }));
            }
            _ => {
                let packet = whole(header, bytes, payload);
                return Some(if extensions == 0 { Form::Whole(packet) } else { Form::Extended(packet) });
            }
        }
    }
    None
}

fn whole<'a>(header: Header, bytes: &'a [u8], payload: &'a [u8]) -> Packet<'a> {
    let Header { source, destination, protocol, hop_limit } = header;
    Packet { source, destination, protocol, hop_limit, bytes, payload }
}
