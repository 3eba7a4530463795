//! Messages of DHCP (RFC 2131), as far as a guest needs them that asks once for an address.

use std::{net::Ipv4Addr, time::Duration};

/// The longest message: that of an Ethernet packet.
pub(crate) const LONGEST: usize = 1500;
/// The length of what stands before the options, and that of the shortest message (RFC 951).
const FIXED: usize = 240;
const SHORTEST: usize = 300;
/// The most addresses of one option that are looked at.
const MOST: usize = 4;

const QUESTION: u8 = 1;
const ANSWER: u8 = 2;
const COOKIE: [u8; 4] = [99, 130, 83, 99];

/// A lease is not renewed more often, whatever the server says.
const SHORTEST_RENEWAL: Duration = Duration::from_secs(60);

/// Kinds of questions.
const DISCOVER: u8 = 1;
const REQUEST: u8 = 3;

/// Options (RFC 2132).
const PAD: u8 = 0;
const SUBNET_MASK: u8 = 1;
const ROUTERS: u8 = 3;
const NAME_SERVERS: u8 = 6;
const HOST_NAME: u8 = 12;
const MTU: u8 = 26;
const REQUESTED_ADDRESS: u8 = 50;
const LEASE_TIME: u8 = 51;
const KIND: u8 = 53;
const SERVER_ADDRESS: u8 = 54;
const WANTED: u8 = 55;
const END: u8 = 255;

/// Kinds of answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// DHCPOFFER: it can be had.
    Offer,
    /// DHCPACK: it is the client's.
    Acknowledgement,
    /// DHCPNAK: it cannot be had any more.
    Refusal,
}

/// What a server gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The client's address.
    pub address: Ipv4Addr,
    /// How many of its first bits are the network's.
    pub prefix: u8,
    /// Routers, the best first, at most four.
    pub routers: Vec<Ipv4Addr>,
    /// Name servers, the best first, at most four.
    pub name_servers: Vec<Ipv4Addr>,
    /// The most bytes of an IP packet on the link.
    pub mtu: Option<u16>,
    /// For how many seconds; for ever if not given.
    time: Option<u32>,
    server: Option<Ipv4Addr>,
}

impl Lease {
    /// When it is to be renewed (RFC 2131, 4.4.5); never if it is for ever.
    pub fn renewal(&self) -> Option<Duration> {
        let time = self.time.filter(|time| *time != u32::MAX)?;
        Some(Duration::from_secs(u64::from(time) / 2).max(SHORTEST_RENEWAL))
    }
}

/// Who asks.
#[derive(Debug, Clone, Copy)]
pub struct Client<'a> {
    /// The card's address.
    pub mac: [u8; 6],
    /// The guest's name; it is not sent if it has no place in a message.
    pub host_name: &'a str,
}

impl Client<'_> {
    /// A message that asks for offers (DHCPDISCOVER), or with one for what it offers (DHCPREQUEST).
    pub fn question(self, transaction: [u8; 4], offer: Option<&Lease>) -> Vec<u8> {
        const ETHERNET: [u8; 3] = [1, 6, 0];
        // Answers come to everybody: the link has no address that they could be sent to.
        const BROADCAST: [u8; 4] = [0, 0, 0x80, 0];
        let mut message = vec![QUESTION];
        message.extend(ETHERNET);
        message.extend(transaction);
        message.extend(BROADCAST);
        message.extend([0; 16]);
        message.extend(self.mac);
        message.resize(FIXED - COOKIE.len(), 0);
        message.extend(COOKIE);
        let kind = if offer.is_some() { REQUEST } else { DISCOVER };
        message.extend([KIND, 1, kind, WANTED, 5, SUBNET_MASK, ROUTERS, NAME_SERVERS, MTU, LEASE_TIME]);
        if let Some(offer) = offer {
            message.extend([REQUESTED_ADDRESS, 4]);
            message.extend(offer.address.octets());
            if let Some(server) = offer.server {
                message.extend([SERVER_ADDRESS, 4]);
                message.extend(server.octets());
            }
        }
        if let Ok(length @ 1..=63) = u8::try_from(self.host_name.len()) {
            message.extend([HOST_NAME, length]);
            message.extend(self.host_name.bytes());
        }
        message.push(END);
        message.resize(message.len().max(SHORTEST), PAD);
        message
    }
}

/// What the UDP datagram to `port` in an IPv4 packet holds; nothing if the packet is something else. Checksums are not looked at: a
/// packet that never was on a wire may have none.
pub fn datagram(packet: &[u8], port: u16) -> Option<&[u8]> {
    const UDP: u8 = 17;
    let header = usize::from(packet.first()? & 15) * 4;
    // More fragments, or not the first one.
    let is_fragment = u16::from_be_bytes([*packet.get(6)?, *packet.get(7)?]) & 0x3fff != 0;
    if packet.first()? >> 4 != 4 || header < 20 || is_fragment || *packet.get(9)? != UDP {
        return None;
    }
    let udp = packet.get(header..)?;
    let word = |at: usize| Some(u16::from_be_bytes([*udp.get(at)?, *udp.get(at + 1)?]));
    if word(2)? != port {
        return None;
    }
    udp.get(8..usize::from(word(4)?))
}

/// The kind of an answer, and what it gives; nothing if it is none, or none to this client.
pub fn answer(message: &[u8], client: Client<'_>, transaction: [u8; 4]) -> Option<(Kind, Lease)> {
    let is_ours = message.first() == Some(&ANSWER)
        && message.get(4..8) == Some(&transaction)
        && message.get(28..34) == Some(&client.mac)
        && message.get(FIXED - COOKIE.len()..FIXED) == Some(&COOKIE);
    if !is_ours {
        return None;
    }
    let address = Ipv4Addr::from(*message.get(16..)?.first_chunk::<4>()?);
    let mut lease = Lease {
        address,
        prefix: 24,
        routers: Vec::new(),
        name_servers: Vec::new(),
        mtu: None,
        time: None,
        server: None,
    };
    let mut kind = None;
    let mut rest = message.get(FIXED..)?;
    while let Some((&option, after)) = rest.split_first() {
        match option {
            PAD => {
                rest = after;
                continue;
            }
            END => break,
            _ => {}
        }
        let (&length, after) = after.split_first()?;
        let (value, after) = after.split_at_checked(length.into())?;
        rest = after;
        match option {
            KIND => {
                kind = match value {
                    [2] => Some(Kind::Offer),
                    [5] => Some(Kind::Acknowledgement),
                    [6] => Some(Kind::Refusal),
                    _ => None,
                };
            }
            SUBNET_MASK => {
                let ones = value.first_chunk().map(|mask| u32::from_be_bytes(*mask).leading_ones());
                lease.prefix = ones.and_then(|ones| u8::try_from(ones).ok()).unwrap_or(24);
            }
            ROUTERS => lease.routers = addresses(value),
            NAME_SERVERS => lease.name_servers = addresses(value),
            MTU => lease.mtu = value.first_chunk().map(|mtu| u16::from_be_bytes(*mtu)),
            LEASE_TIME => lease.time = value.first_chunk().map(|time| u32::from_be_bytes(*time)),
            SERVER_ADDRESS => lease.server = addresses(value).first().copied(),
            _ => {}
        }
    }
    let kind = kind?;
    (kind == Kind::Refusal || is_host(address)).then_some((kind, lease))
}

fn addresses(value: &[u8]) -> Vec<Ipv4Addr> {
    let addresses = value.chunks_exact(4).filter_map(<[u8]>::first_chunk::<4>).map(|bytes| (*bytes).into());
    addresses.filter(|address| is_host(*address)).take(MOST).collect()
}

/// Whether it can be a machine's.
fn is_host(address: Ipv4Addr) -> bool {
    !(address.is_unspecified() || address.is_broadcast() || address.is_multicast() || address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: [u8; 6] = [0x52, 0x54, 0, 1, 2, 3];
    const TRANSACTION: [u8; 4] = [1, 2, 3, 4];

    const CLIENT: Client<'_> = Client { mac: MAC, host_name: "web" };

    fn question(offer: Option<&Lease>) -> Vec<u8> {
        CLIENT.question(TRANSACTION, offer)
    }

    /// The question as an answer with this address and these options.
    fn answer_with(address: [u8; 4], options: &[u8]) -> Vec<u8> {
        let mut message = question(None);
        message[0] = ANSWER;
        message[16..20].copy_from_slice(&address);
        message.truncate(FIXED);
        message.extend(options);
        message
    }

    #[test]
    fn a_question_is_laid_out_as_in_the_specification() {
        let message = question(None);
        assert_eq!(message.len(), SHORTEST);
        assert_eq!(message[..12], [1, 1, 6, 0, 1, 2, 3, 4, 0, 0, 0x80, 0]);
        assert_eq!(message[28..34], MAC);
        assert_eq!(message[236..243], [99, 130, 83, 99, 53, 1, 1]);
        assert!(message.windows(5).any(|bytes| bytes == b"\x0c\x03web"));
        assert!(answer(&message, CLIENT, TRANSACTION).is_none(), "it is no answer");
    }

    #[test]
    fn an_offer_is_understood_and_taken() {
        let options = [
            &[0, 53, 1, 2, 54, 4, 192, 0, 2, 1, 1, 4, 255, 255, 240, 0, 26, 2, 0xff, 0xf0][..],
            &[3, 8, 192, 0, 2, 1, 192, 0, 2, 2, 6, 8, 0, 0, 0, 0, 9, 9, 9, 9, 255, 1],
        ]
        .concat();
        let (kind, lease) = answer(&answer_with([192, 0, 2, 77], &options), CLIENT, TRANSACTION).unwrap();
        let address = |last| Ipv4Addr::new(192, 0, 2, last);
        let expected = Lease {
            address: address(77),
            prefix: 20,
            routers: vec![address(1), address(2)],
            name_servers: vec![Ipv4Addr::new(9, 9, 9, 9)],
            mtu: Some(65_520),
            time: None,
            server: Some(address(1)),
        };
        assert_eq!((kind, &lease), (Kind::Offer, &expected));
        let taken = question(Some(&lease));
        let words = [50, 4, 192, 0, 2, 77, 54, 4, 192, 0, 2, 1];
        assert!(taken.windows(words.len()).any(|bytes| bytes == words));
    }

    #[test]
    fn a_lease_is_renewed_at_half_its_time() {
        let renewal = |time: u32| {
            let options = [&[53, 1, 5, 51, 4][..], &time.to_be_bytes(), &[255]].concat();
            let (_, lease) = answer(&answer_with([192, 0, 2, 77], &options), CLIENT, TRANSACTION).unwrap();
            lease.renewal().map(|time| time.as_secs())
        };
        assert_eq!([3600, 0, u32::MAX - 1].map(renewal), [Some(1800), Some(60), Some(2_147_483_647)]);
        assert_eq!(renewal(u32::MAX), None, "it is for ever");
    }

    #[test]
    fn the_datagram_is_taken_out_of_its_packet() {
        let mut packet = vec![0x45, 0, 0, 32, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 2, 2, 10, 0, 2, 15];
        packet.extend([0, 67, 0, 68, 0, 12, 0, 0]);
        packet.extend(b"wordpadding");
        assert_eq!(datagram(&packet, 68), Some(&b"word"[..]));
        assert_eq!(datagram(&packet, 67), None);
        for (at, byte) in [(0, 0x65), (0, 0x44), (0, 0x4f), (6, 0x20), (7, 1), (9, 6), (24, 0xff), (25, 7)] {
            let mut other = packet.clone();
            other[at] = byte;
            assert_eq!(datagram(&other, 68), None, "byte {at}");
        }
        assert!((0..32).all(|len| datagram(&packet[..len], 68).is_none()));
    }

    #[test]
    fn what_is_no_answer_is_left_alone() {
        let sound = answer_with([192, 0, 2, 77], &[53, 1, 5, 255]);
        assert!(answer(&sound, CLIENT, TRANSACTION).is_some());
        for length in 0..sound.len() - 1 {
            assert!(answer(&sound[..length], CLIENT, TRANSACTION).is_none(), "{length} bytes");
        }
        assert!(
            answer(&sound, CLIENT, [0; 4]).is_none()
                && answer(&sound, Client { mac: [0; 6], ..CLIENT }, TRANSACTION).is_none()
        );
        for address in [[0; 4], [255; 4], [127, 0, 0, 1], [224, 0, 0, 1]] {
            assert!(answer(&answer_with(address, &[53, 1, 5, 255]), CLIENT, TRANSACTION).is_none());
        }
        let refusal = answer(&answer_with([0; 4], &[53, 1, 6, 255]), CLIENT, TRANSACTION);
        assert_eq!(refusal.map(|(kind, _)| kind), Some(Kind::Refusal));
        for byte in 0..=u8::MAX {
            let _ = answer(&answer_with([192, 0, 2, 77], &[53, 1, 5, byte, byte, byte]), CLIENT, TRANSACTION);
        }
    }
}
