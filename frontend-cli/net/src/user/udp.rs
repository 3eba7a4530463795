//! UDP: what the guest sends to the world and what the host's clients send to the guest, each exchange on a socket of
//! the host.

mod output;

use std::{
    collections::{HashMap, VecDeque},
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::{Duration, Instant},
};

use mio::{Interest, Token, net::UdpSocket};

use super::{
    icmp::{self, Reason},
    link::{Ends, Link},
    packet::Packet,
    policy,
    slots::Slots,
};

/// Exchanges at a time; the one that was silent for longest makes room.
const MAX_EXCHANGES: usize = 512;

/// How long an exchange may be silent (RFC 4787, REQ-5: not less than two minutes).
const IDLE: Duration = Duration::from_secs(120);

/// Bytes of a UDP header.
const UDP_HEADER: usize = 8;

/// The host's end of an exchange.
#[derive(Debug)]
enum Host {
    /// A socket that is connected to where the guest sends.
    Socket(UdpSocket),
    /// A client of the forwarded port with this number.
    Client { forward: usize, client: SocketAddr },
}

#[derive(Debug)]
struct Exchange {
    ends: Ends,
    host: Host,
    used: Instant,
    is_queued: bool,
}

/// Where a datagram for the guest is to be read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Exchange(usize),
    Forward(usize),
}

/// A forwarded port.
#[derive(Debug)]
pub(crate) struct Port<'a> {
    pub(crate) number: usize,
    pub(crate) socket: &'a UdpSocket,
}

/// All exchanges.
#[derive(Debug)]
pub(crate) struct Udp {
    exchanges: Slots<Exchange>,
    by_ends: HashMap<Ends, usize>,
    by_client: HashMap<(usize, SocketAddr), usize>,
    /// What may have a datagram for the guest, in turn.
    queue: VecDeque<Source>,
    /// When to look for exchanges that are over.
    sweep: Option<Instant>,
    first_token: usize,
    host: bool,
}

impl Udp {
    pub(crate) fn new(first_token: usize, host: bool) -> Self {
        Self {
            exchanges: Slots::new(),
            by_ends: HashMap::new(),
            by_client: HashMap::new(),
            queue: VecDeque::new(),
            sweep: None,
            first_token,
            host,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.exchanges.len()
    }

    /// Takes a datagram of the guest, whose checksum is right. `port` finds forwarded ports by number.
    pub(crate) fn input<'a>(
        &mut self,
        link: &mut Link,
        frame: &[u8],
        packet: &Packet,
        port: impl Fn(usize) -> Option<&'a UdpSocket>,
    ) {
        let datagram = &frame[packet.transport..packet.end];
        let Some(header) = datagram.first_chunk::<UDP_HEADER>() else { return };
        let len = usize::from(u16::from_be_bytes([header[4], header[5]]));
        let Some(payload) = datagram.get(UDP_HEADER..len) else { return };
        let ends = Ends {
            guest: SocketAddr::new(packet.source, u16::from_be_bytes([header[0], header[1]])),
            remote: SocketAddr::new(packet.destination, u16::from_be_bytes([header[2], header[3]])),
        };
        let slot = match self.by_ends.get(&ends) {
            Some(slot) => *slot,
            None => match self.open(link, ends) {
                Ok(slot) => slot,
                Err(reason) => return icmp::report_udp(link, ends, reason),
            },
        };
        let Some(exchange) = self.exchanges.at(slot) else { return };
        exchange.used = link.now;
        // As any router, we drop what has no room.
        let sent = match &exchange.host {
            Host::Socket(socket) => socket.send(payload).or_else(|error| match error.kind() {
                // The error is of a datagram before.
                io::ErrorKind::ConnectionRefused => socket.send(payload),
                _ => Err(error),
            }),
            Host::Client { forward, client } => match port(*forward) {
                Some(socket) => socket.send_to(payload, *client),
                None => return,
            },
        };
        match sent.map_err(|error| error.kind()) {
            Err(io::ErrorKind::ConnectionRefused) => icmp::report_udp(link, ends, Reason::Port),
            Err(io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable) => {
                icmp::report_udp(link, ends, Reason::Host);
            }
            _ => {}
        }
    }

    /// Begins an exchange of the guest.
    fn open(&mut self, link: &Link, ends: Ends) -> Result<usize, Reason> {
        if ends.remote.port() == 0 || ends.guest.port() == 0 {
            return Err(Reason::Prohibited);
        }
        let address = policy::admit(ends.remote.ip(), self.host).ok_or(Reason::Prohibited)?;
        self.make_room(link);
        let any: IpAddr = match address {
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let token = Token(self.first_token + self.exchanges.next());
        let socket = UdpSocket::bind(SocketAddr::new(any, 0)).and_then(|mut socket| {
            socket.connect(SocketAddr::new(address, ends.remote.port()))?;
            let registry = link.registry.as_ref().ok_or(io::ErrorKind::NotConnected)?;
            registry.register(&mut socket, token, Interest::READABLE)?;
            Ok(socket)
        });
        let socket = socket.map_err(|_| Reason::Host)?;
        Ok(self.add(link, ends, Host::Socket(socket)))
    }

    fn add(&mut self, link: &Link, ends: Ends, host: Host) -> usize {
        if let Host::Client { forward, client } = host {
            self.by_client.insert((forward, client), self.exchanges.next());
        }
        let slot = self.exchanges.insert(Exchange { ends, host, used: link.now, is_queued: false });
        self.by_ends.insert(ends, slot);
        self.sweep.get_or_insert(link.now + IDLE);
        slot
    }

    fn make_room(&mut self, link: &Link) {
        if self.exchanges.len() >= MAX_EXCHANGES
            && let Some((oldest, _)) = self.exchanges.iter().min_by_key(|(_, exchange)| exchange.used)
        {
            self.remove(link, oldest);
        }
    }

    fn remove(&mut self, link: &Link, slot: usize) {
        let Some(mut exchange) = self.exchanges.remove(slot) else { return };
        self.by_ends.remove(&exchange.ends);
        match &mut exchange.host {
            Host::Client { forward, client } => {
                self.by_client.remove(&(*forward, *client));
            }
            Host::Socket(socket) => {
                if let Some(registry) = &link.registry {
                    // It is not registered if that failed.
                    let _ = registry.deregister(socket);
                }
            }
        }
    }

    /// When to call [`Self::wake`].
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.sweep
    }

    /// Forgets exchanges that were silent for long.
    pub(crate) fn wake(&mut self, link: &Link) {
        if self.sweep.is_none_or(|sweep| link.now < sweep) {
            return;
        }
        for slot in self.exchanges.numbers() {
            if self.exchanges.at(slot).is_some_and(|exchange| exchange.used + IDLE <= link.now) {
                self.remove(link, slot);
            }
        }
        self.sweep = self.exchanges.iter().map(|(_, exchange)| exchange.used + IDLE).min();
    }

    /// Forgets all exchanges.
    pub(crate) fn stop(&mut self, link: &Link) {
        for slot in self.exchanges.numbers() {
            self.remove(link, slot);
        }
        *self = Self::new(self.first_token, self.host);
    }
}
