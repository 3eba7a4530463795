//! `Packet`: where in a frame of the guest the parts of its IP packet are.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::{checksum::Sum, ethernet};

/// Bytes of the Ethernet header.
pub(crate) const ETHERNET: usize = ethernet::HEADER;

/// Bytes of an IPv4 header without options.
pub(crate) const IPV4: usize = 20;

/// Bytes of an IPv6 header without extensions.
pub(crate) const IPV6: usize = 40;

/// Protocol number of TCP.
pub(crate) const TCP: u8 = 6;

/// Protocol number of UDP.
pub(crate) const UDP: u8 = 17;

/// Number of the IPv6 extension header of fragments.
pub(crate) const FRAGMENT: u8 = 44;

/// IPv6 extension headers that are looked over: hop-by-hop options, routing, destination options (RFC 8200, 4).
pub(crate) const EXTENSIONS: [u8; 3] = [0, 43, 60];

/// So many at most: RFC 8200, 4.1 foresees each kind once, one twice.
const MAX_EXTENSIONS: usize = 8;

/// An IP packet in an Ethernet frame, or alone, by the places of its parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Packet {
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    pub(crate) protocol: u8,
    pub(crate) hop_limit: u8,
    /// Where the header of TCP or UDP begins, or in IPv6 that of a fragment.
    pub(crate) transport: usize,
    /// Where the packet ends; the frame may go on.
    pub(crate) end: usize,
    /// Whether it is a part of a packet.
    pub(crate) is_fragment: bool,
}

impl Packet {
    /// The packet in `frame`, if there is a whole one and its header's checksum is right.
    pub(crate) fn parse(frame: &[u8]) -> Option<Self> {
        let (header, bytes) = frame.split_at_checked(ETHERNET)?;
        let packet = match [header[12], header[13]] {
            [0x08, 0x00] => {
                let packet = Self::parse_v4(bytes)?;
                Sum::default().add(&bytes[..packet.transport]).is_right().then_some(packet)?
            }
            [0x86, 0xdd] => Self::parse_v6(bytes)?,
            _ => return None,
        };
        Some(Self { transport: ETHERNET + packet.transport, end: ETHERNET + packet.end, ..packet })
    }

    /// The IPv4 packet at the start of `packet`; its checksum is not looked at.
    pub(crate) fn parse_v4(packet: &[u8]) -> Option<Self> {
        let header: &[u8; IPV4] = packet.first_chunk()?;
        let header_len = usize::from(header[0] & 15) * 4;
        let total = usize::from(u16::from_be_bytes([header[2], header[3]]));
        if header[0] >> 4 != 4 || header_len < IPV4 || total < header_len || total > packet.len() {
            return None;
        }
        let address = |at: usize| Ipv4Addr::new(header[at], header[at + 1], header[at + 2], header[at + 3]);
        Some(Self {
            source: address(12).into(),
            destination: address(16).into(),
            protocol: header[9],
            hop_limit: header[8],
            transport: header_len,
            end: total,
            // Offset or "more fragments".
            is_fragment: u16::from_be_bytes([header[6], header[7]]) & 0x3fff != 0,
        })
    }

    /// The IPv6 packet at the start of `packet`.
    pub(crate) fn parse_v6(packet: &[u8]) -> Option<Self> {
        let header: &[u8; IPV6] = packet.first_chunk()?;
        let total = IPV6 + usize::from(u16::from_be_bytes([header[4], header[5]]));
        let packet = packet.get(..total)?;
        if header[0] >> 4 != 6 {
            return None;
        }
        let address = |at: usize| -> Option<Ipv6Addr> {
            let octets: &[u8; 16] = header[at..].first_chunk()?;
            Some(Ipv6Addr::from(*octets))
        };
        let (mut protocol, mut transport, mut is_fragment) = (header[6], IPV6, false);
        for _ in 0..MAX_EXTENSIONS {
            let len = match protocol {
                extension if EXTENSIONS.contains(&extension) => {
                    8 + usize::from(*packet.get(transport + 1)?) * 8
                }
                FRAGMENT => {
                    is_fragment = true;
                    break;
                }
                _ => break,
            };
            protocol = packet[transport];
            transport += len;
            if transport > total {
                return None;
            }
        }
        Some(Self {
            source: address(8)?.into(),
            destination: address(24)?.into(),
            protocol,
            hop_limit: header[7],
            transport,
            end: total,
            is_fragment,
        })
    }

    /// Bytes of the transport's header and payload.
    pub(crate) fn len(&self) -> usize {
        self.end - self.transport
    }

    /// Whether the checksum of TCP or UDP is right, or not there where it need not be.
    pub(crate) fn checksum_is_right(&self, frame: &[u8]) -> bool {
        let transport = &frame[self.transport..self.end];
        if self.protocol == UDP && self.source.is_ipv4() && transport.get(6..8) == Some(&[0, 0]) {
            return true;
        }
        Sum::pseudo_header(self.source, self.destination, self.protocol, self.len()).add(transport).is_right()
    }

    /// Takes the extension headers out of an IPv6 packet in `frame`: the packet that follows has none, and stands
    /// where the transport's header needs it to.
    pub(crate) fn without_extensions<'a>(&self, frame: &'a mut [u8]) -> &'a mut [u8] {
        let plain = match self.source {
            IpAddr::V4(_) => return &mut frame[ETHERNET..self.end],
            IpAddr::V6(_) => self.transport - IPV6,
        };
        if plain != ETHERNET {
            frame.copy_within(ETHERNET..ETHERNET + IPV6, plain);
            let len = u16::try_from(self.len()).unwrap_or(u16::MAX).to_be_bytes();
            frame[plain + 4..plain + 6].copy_from_slice(&len);
            frame[plain + 6] = self.protocol;
        }
        &mut frame[plain..self.end]
    }
}

#[cfg(test)]
mod tests;
