//! DHCP (RFC 2131), as far as a guest needs it that starts: it asks once for an address, which it then keeps.

use std::{
    fs::File,
    io::{self, Read},
    net::{Ipv4Addr, UdpSocket},
    time::{Duration, Instant},
};

/// Ports of client and server.
const CLIENT: u16 = 68;
const SERVER: u16 = 67;

/// So long is asked before the guest starts without.
const PATIENCE: Duration = Duration::from_secs(3);
/// A first question that has no answer by then is repeated, and later ones after twice as long.
const FIRST_WAIT: Duration = Duration::from_millis(250);

/// The longest message: that of an Ethernet packet.
const LONGEST: usize = 1500;
/// The length of what stands before the options, and that of the shortest message (RFC 951).
const FIXED: usize = 240;
const SHORTEST: usize = 300;
/// The most servers or routers of one option.
const MOST: usize = 4;

const QUESTION: u8 = 1;
const ANSWER: u8 = 2;
const COOKIE: [u8; 4] = [99, 130, 83, 99];

/// Kinds of messages.
const DISCOVER: u8 = 1;
const OFFER: u8 = 2;
const REQUEST: u8 = 3;
const ACKNOWLEDGE: u8 = 5;
const REFUSE: u8 = 6;

/// Options (RFC 2132).
const PAD: u8 = 0;
const SUBNET_MASK: u8 = 1;
const ROUTERS: u8 = 3;
const NAME_SERVERS: u8 = 6;
const HOST_NAME: u8 = 12;
const MTU: u8 = 26;
const REQUESTED_ADDRESS: u8 = 50;
const KIND: u8 = 53;
const SERVER_ADDRESS: u8 = 54;
const WANTED: u8 = 55;
const END: u8 = 255;

/// What a server gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Lease {
    pub(super) address: Ipv4Addr,
    pub(super) prefix: u8,
    pub(super) routers: Vec<Ipv4Addr>,
    pub(super) name_servers: Vec<Ipv4Addr>,
    pub(super) mtu: Option<u16>,
    server: Option<Ipv4Addr>,
}

/// Who asks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Client<'a> {
    pub(super) mac: [u8; 6],
    pub(super) host_name: &'a str,
}

/// Asks on a link that is up and that broadcasts are routed to.
///
/// # Errors
/// There is no answer in time, or nothing can be sent.
pub(super) fn ask(client: Client<'_>) -> io::Result<Lease> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, CLIENT))?;
    socket.set_broadcast(true)?;
    let mut transaction = [0; 4];
    File::open("/dev/urandom")?.read_exact(&mut transaction)?;
    let until = Instant::now() + PATIENCE;
    loop {
        let question = client.question(transaction, DISCOVER, None);
        let offer = converse(&socket, client.mac, transaction, &question, OFFER, until)?;
        let question = client.question(transaction, REQUEST, Some(&offer));
        match converse(&socket, client.mac, transaction, &question, ACKNOWLEDGE, until) {
            // Somebody else has it by now.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
            lease => return lease,
        }
    }
}

/// Sends a question until it is answered by a message of the kind that is `wanted`.
fn converse(
    socket: &UdpSocket,
    mac: [u8; 6],
    transaction: [u8; 4],
    question: &[u8],
    wanted: u8,
    until: Instant,
) -> io::Result<Lease> {
    let (mut wait, mut buffer) = (FIRST_WAIT, [0; LONGEST]);
    loop {
        socket.send_to(question, (Ipv4Addr::BROADCAST, SERVER))?;
        let again = until.min(Instant::now() + wait);
        wait *= 2;
        while let Some(left) = again.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            socket.set_read_timeout(Some(left))?;
            let length = match socket.recv(&mut buffer) {
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error)
                    if [io::ErrorKind::WouldBlock, io::ErrorKind::TimedOut].contains(&error.kind()) =>
                {
                    break;
                }
                Err(error) => return Err(error),
            };
            match answer(buffer.get(..length).unwrap_or_default(), mac, transaction) {
                Some((kind, lease)) if kind == wanted => return Ok(lease),
                Some((REFUSE, _)) => return Err(io::ErrorKind::ConnectionRefused.into()),
                _ => {}
            }
        }
        if Instant::now() >= until {
            return Err(io::ErrorKind::TimedOut.into());
        }
    }
}

impl Client<'_> {
    /// A message; with an offer, that which takes it.
    fn question(self, transaction: [u8; 4], kind: u8, offer: Option<&Lease>) -> Vec<u8> {
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
        message.extend([KIND, 1, kind, WANTED, 4, SUBNET_MASK, ROUTERS, NAME_SERVERS, MTU]);
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

/// The kind of an answer, and what it gives; nothing if it is none, or none to this client.
fn answer(message: &[u8], mac: [u8; 6], transaction: [u8; 4]) -> Option<(u8, Lease)> {
    let is_ours = message.first() == Some(&ANSWER)
        && message.get(4..8) == Some(&transaction)
        && message.get(28..34) == Some(&mac)
        && message.get(FIXED - COOKIE.len()..FIXED) == Some(&COOKIE);
    if !is_ours {
        return None;
    }
    let address = Ipv4Addr::from(*message.get(16..)?.first_chunk::<4>()?);
    let mut lease =
        Lease { address, prefix: 24, routers: Vec::new(), name_servers: Vec::new(), mtu: None, server: None };
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
            KIND => kind = value.first().copied(),
            SUBNET_MASK => {
                let ones = value.first_chunk().map(|mask| u32::from_be_bytes(*mask).leading_ones());
                lease.prefix = ones.and_then(|ones| u8::try_from(ones).ok()).unwrap_or(24);
            }
            ROUTERS => lease.routers = addresses(value),
            NAME_SERVERS => lease.name_servers = addresses(value),
            MTU => lease.mtu = value.first_chunk().map(|mtu| u16::from_be_bytes(*mtu)),
            SERVER_ADDRESS => lease.server = addresses(value).first().copied(),
            _ => {}
        }
    }
    let kind = kind?;
    (kind == REFUSE || is_host(address)).then_some((kind, lease))
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

    fn question(kind: u8, offer: Option<&Lease>) -> Vec<u8> {
        Client { mac: MAC, host_name: "web" }.question(TRANSACTION, kind, offer)
    }

    /// The question as an answer with this address and these options.
    fn answer_with(address: [u8; 4], options: &[u8]) -> Vec<u8> {
        let mut message = question(DISCOVER, None);
        message[0] = ANSWER;
        message[16..20].copy_from_slice(&address);
        message.truncate(FIXED);
        message.extend(options);
        message
    }

    #[test]
    fn a_question_is_laid_out_as_in_the_specification() {
        let message = question(DISCOVER, None);
        assert_eq!(message.len(), SHORTEST);
        assert_eq!(message[..12], [1, 1, 6, 0, 1, 2, 3, 4, 0, 0, 0x80, 0]);
        assert_eq!(message[28..34], MAC);
        assert_eq!(message[236..243], [99, 130, 83, 99, 53, 1, 1]);
        assert!(message.windows(5).any(|bytes| bytes == b"\x0c\x03web"));
        assert!(answer(&message, MAC, TRANSACTION).is_none(), "it is no answer");
    }

    #[test]
    fn an_offer_is_understood_and_taken() {
        let options = [
            &[0, 53, 1, 2, 54, 4, 192, 0, 2, 1, 1, 4, 255, 255, 240, 0, 26, 2, 0xff, 0xf0][..],
            &[3, 8, 192, 0, 2, 1, 192, 0, 2, 2, 6, 8, 0, 0, 0, 0, 9, 9, 9, 9, 255, 1],
        ]
        .concat();
        let (kind, lease) = answer(&answer_with([192, 0, 2, 77], &options), MAC, TRANSACTION).unwrap();
        let address = |last| Ipv4Addr::new(192, 0, 2, last);
        let expected = Lease {
            address: address(77),
            prefix: 20,
            routers: vec![address(1), address(2)],
            name_servers: vec![Ipv4Addr::new(9, 9, 9, 9)],
            mtu: Some(65_520),
            server: Some(address(1)),
        };
        assert_eq!((kind, &lease), (OFFER, &expected));
        let taken = question(REQUEST, Some(&lease));
        let words = [50, 4, 192, 0, 2, 77, 54, 4, 192, 0, 2, 1];
        assert!(taken.windows(words.len()).any(|bytes| bytes == words));
    }

    #[test]
    fn what_is_no_answer_is_left_alone() {
        let sound = answer_with([192, 0, 2, 77], &[53, 1, 5, 255]);
        assert!(answer(&sound, MAC, TRANSACTION).is_some());
        for length in 0..sound.len() - 1 {
            assert!(answer(&sound[..length], MAC, TRANSACTION).is_none(), "{length} bytes");
        }
        assert!(answer(&sound, MAC, [0; 4]).is_none() && answer(&sound, [0; 6], TRANSACTION).is_none());
        for address in [[0; 4], [255; 4], [127, 0, 0, 1], [224, 0, 0, 1]] {
            assert!(answer(&answer_with(address, &[53, 1, 5, 255]), MAC, TRANSACTION).is_none());
        }
        let refusal = answer(&answer_with([0; 4], &[53, 1, 6, 255]), MAC, TRANSACTION);
        assert_eq!(refusal.map(|(kind, _)| kind), Some(REFUSE));
        for byte in 0..=u8::MAX {
            let _ = answer(&answer_with([192, 0, 2, 77], &[53, 1, 5, byte, byte, byte]), MAC, TRANSACTION);
        }
    }
}
