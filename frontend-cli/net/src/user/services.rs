//! What the user network answers itself: ARP, neighbour discovery, DHCP, DNS, pings, and fragments put together.

mod arp;
mod config;
mod datagrams;
mod dhcp;
mod dhcpv6;
mod dns;
mod echo;
mod ethernet;
mod guest;
mod ip;
mod neighbor;
mod outbox;
mod ping;
mod reassembly;
#[cfg(test)]
mod tests;

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Instant,
};

use mio::{Registry, Token};
use smoltcp::wire::{EthernetProtocol, IpProtocol, UdpPacket};

pub(crate) use config::ServicesConfig;
pub(crate) use dns::{message, resolver};

use dns::Forwarder;
use echo::Echo;
use ethernet::Ethernet;
use guest::Guest;
use ip::{Form, Packet};
use neighbor::Router;
use outbox::Outbox;
use reassembly::Reassembly;

use super::icmp::Reason;

/// The first of the tokens under which the services register their sockets; they use no token below.
const FIRST_TOKEN: usize = 1 << 20;

/// The first token of the sockets for pings.
const FIRST_ECHO_TOKEN: usize = FIRST_TOKEN + (1 << 16);

/// How often one frame is unwrapped: a datagram out of fragments, then its extension headers, then it is looked at.
const MAX_LAYERS: usize = 4;

const DNS_PORT: u16 = 53;
const DHCP_PORT: u16 = 67;
const DHCPV6_PORT: u16 = 547;

/// What became of a frame of the guest.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It was for the services, or for nobody.
    Handled,
    /// It is TCP or UDP over IPv4 or IPv6 from an address that the guest may have, to one host beyond the services: as
    /// it stands, or the frame that its fragments made, or the frame without IPv6 extension headers.
    Pass(Option<Vec<u8>>),
}

/// One look at a frame.
enum Step {
    Done,
    Pass,
    /// What was in it is looked at next.
    Again(Vec<u8>),
}

/// What the network answers itself. One guest is at the other end.
pub(crate) struct Services {
    config: ServicesConfig,
    guest: Guest,
    outbox: Outbox,
    router: Router,
    dns: Forwarder,
    echo: Echo,
    reassembly: Reassembly,
    /// Where sockets are registered; there is none while no driver is ready.
    registry: Option<Registry>,
}

impl Services {
    pub(crate) fn new(config: ServicesConfig) -> Self {
        Self {
            guest: Guest::default(),
            outbox: Outbox::new(config.gateway_mac, config.mtu),
            router: Router::default(),
            dns: Forwarder::new(&config),
            echo: Echo::default(),
            reassembly: Reassembly::default(),
            registry: None,
            config,
        }
    }

    /// Sockets are opened from now on, under tokens from 1 << 20 on.
    pub(crate) fn start(&mut self, registry: &Registry) -> io::Result<()> {
        self.registry = Some(registry.try_clone()?);
        Ok(())
    }

    /// All that waits is forgotten: queries, pings, fragments, frames for the guest, and what was learned of it.
    pub(crate) fn stop(&mut self, _registry: &Registry) {
        // A socket leaves its registry when it is closed.
        self.dns.clear();
        self.echo = Echo::default();
        self.reassembly = Reassembly::default();
        self.router = Router::default();
        self.outbox.clear();
        self.guest = Guest::default();
        self.registry = None;
    }

    /// The next frame for the guest; all its checksums are complete.
    pub(crate) fn next_frame(&mut self) -> Option<Vec<u8>> {
        self.outbox.next()
    }

    /// The guest's own Ethernet address, once it said something.
    pub(crate) fn guest_mac(&self) -> Option<[u8; 6]> {
        self.guest.mac
    }

    /// The guest's address in the IPv4 subnet, once known.
    pub(crate) fn guest_ipv4(&self) -> Option<Ipv4Addr> {
        self.guest.ipv4
    }

    /// The guest's address in the IPv6 prefix that it used last, once known.
    pub(crate) fn guest_ipv6(&self) -> Option<Ipv6Addr> {
        self.guest.ipv6
    }

    /// The host's name server that is asked first, which also takes the guest's DNS over TCP.
    pub(crate) fn resolver(&mut self) -> Option<SocketAddr> {
        self.dns.resolver()
    }

    /// Asks the guest who has `address`; the answer makes it known.
    pub(crate) fn resolve(&mut self, address: IpAddr) {
        match address {
            IpAddr::V4(address) => arp::request(&self.config, address, &mut self.outbox),
            IpAddr::V6(address) => {
                neighbor::solicit(&self.config, address, &mut self.outbox);
                if self.guest.ipv6.is_none() {
                    // It chooses its address itself; one who answers to all nodes shows it.
                    neighbor::ask_all(&self.config, &mut self.outbox);
                }
            }
        }
    }

    /// When to [`tick`](Self::tick).
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let parts =
            [self.dns.deadline(), self.echo.deadline(), self.reassembly.deadline(), self.router.deadline()];
        parts.into_iter().flatten().min()
    }

    /// Does what is due at `now`.
    pub(crate) fn tick(&mut self, now: Instant) {
        self.echo.tick(now);
        self.reassembly.tick(now);
        if self.router.is_due(now) {
            self.router.advertise_to_all(&self.config, now, &mut self.outbox);
        }
        for answer in self.dns.tick(now, self.registry.as_ref()) {
            self.outbox.dns_answer(&answer);
        }
    }

    /// What is registered under `token` became ready. Tokens of others are ignored.
    pub(crate) fn wake(&mut self, token: Token) {
        let Some(registry) = &self.registry else { return };
        if let Some(index) = token.0.checked_sub(FIRST_ECHO_TOKEN) {
            self.echo.wake(index, registry, &mut self.outbox);
        } else if let Some(index) = token.0.checked_sub(FIRST_TOKEN) {
            for answer in self.dns.wake(index, registry) {
                self.outbox.dns_answer(&answer);
            }
        }
    }

    /// Looks at a frame of the guest, and answers it if it is for the services.
    ///
    /// Checksums are not looked at: nothing changes a byte on this wire, and a guest may leave them to its card.
    pub(crate) fn handle(&mut self, frame: &[u8]) -> Verdict {
        let mut inner = match self.step(frame) {
            Step::Done => return Verdict::Handled,
            Step::Pass => return Verdict::Pass(None),
            Step::Again(inner) => inner,
        };
        for _ in 1..MAX_LAYERS {
            match self.step(&inner) {
                Step::Done => break,
                Step::Pass => return Verdict::Pass(Some(inner)),
                Step::Again(next) => inner = next,
            }
        }
        Verdict::Handled
    }

    fn step(&mut self, frame: &[u8]) -> Step {
        let Some(ethernet) = Ethernet::parse(frame) else { return Step::Done };
        if !ethernet.is_for(self.config.gateway_mac) {
            return Step::Done;
        }
        let form = match ethernet.protocol {
            EthernetProtocol::Arp => {
                arp::handle(&self.config, &ethernet, &mut self.guest, &mut self.outbox);
                return Step::Done;
            }
            EthernetProtocol::Ipv4 => ip::parse_v4(ethernet.payload),
            EthernetProtocol::Ipv6 => ip::parse_v6(ethernet.payload),
            EthernetProtocol::Unknown(_) => None,
        };
        match form {
            None => Step::Done,
            Some(Form::Whole(packet)) => self.packet(ethernet.source, &packet),
            Some(Form::Extended(packet)) => {
                ethernet::frame(ethernet.source, self.config.gateway_mac, &packet.header(), packet.payload)
                    .map_or(Step::Done, Step::Again)
            }
            Some(Form::Fragment(fragment)) => {
                if !self.config.may_be_guest(fragment.header.source) {
                    return Step::Done;
                }
                let Some((header, payload)) = self.reassembly.insert(&fragment, Instant::now()) else {
                    return Step::Done;
                };
                ethernet::frame(ethernet.source, self.config.gateway_mac, &header, &payload)
                    .map_or(Step::Done, Step::Again)
            }
        }
    }

    fn packet(&mut self, mac: [u8; 6], packet: &Packet<'_>) -> Step {
        if packet.protocol == IpProtocol::Icmpv6 && packet.source.is_ipv6() && neighbor::concerns(packet) {
            let now = Instant::now();
            self.router.handle(&self.config, mac, packet, now, &mut self.guest, &mut self.outbox);
            return Step::Done;
        }
        let datagram = if packet.protocol == IpProtocol::Udp {
            UdpPacket::new_checked(packet.payload).ok()
        } else {
            None
        };
        if let Some(datagram) = &datagram
            && packet.source.is_ipv4()
            && datagram.dst_port() == DHCP_PORT
        {
            // A guest without an address asks from 0.0.0.0.
            dhcp::handle(&self.config, mac, datagram.payload(), &mut self.guest, &mut self.outbox);
            return Step::Done;
        }
        if !self.config.may_be_guest(packet.source) {
            return Step::Done;
        }
        self.guest.learn(&self.config, mac, packet.source);
        match (packet.protocol, datagram) {
            (IpProtocol::Udp, Some(datagram)) => self.datagram(mac, packet, &datagram),
            (IpProtocol::Tcp, _) if self.config.is_host(packet.destination) => Step::Pass,
            (IpProtocol::Icmp, _) if packet.source.is_ipv4() => {
                self.ping(mac, packet);
                Step::Done
            }
            (IpProtocol::Icmpv6, _) if packet.source.is_ipv6() => {
                self.ping(mac, packet);
                Step::Done
            }
            _ => Step::Done,
        }
    }

    fn datagram(&mut self, mac: [u8; 6], packet: &Packet<'_>, datagram: &UdpPacket<&[u8]>) -> Step {
        let (from, to) = (datagram.src_port(), datagram.dst_port());
        if to == DHCPV6_PORT && packet.source.is_ipv6() {
            dhcpv6::handle(&self.config, mac, packet.source, from, datagram.payload(), &mut self.outbox);
            return Step::Done;
        }
        if to == DNS_PORT && self.config.is_dns(packet.destination) {
            let client = dns::Client {
                mac,
                address: SocketAddr::new(packet.source, from),
                server: packet.destination,
            };
            let registry = self.registry.as_ref();
            if let Some(answer) = self.dns.query(client, datagram.payload(), Instant::now(), registry) {
                self.outbox.dns_answer(&answer);
            }
            return Step::Done;
        }
        if self.config.is_host(packet.destination) { Step::Pass } else { Step::Done }
    }

    fn ping(&mut self, mac: [u8; 6], packet: &Packet<'_>) {
        if !ping::is_echo_request(packet) {
            return;
        }
        if let Some(source) = ping::answers_from(&self.config, packet.destination) {
            ping::reply(mac, source, packet, &mut self.outbox);
            return;
        }
        if !self.config.is_host(packet.destination) {
            return;
        }
        let reason = if packet.hop_limit <= 1 {
            Some(Reason::HopLimit)
        } else if self.config.is_on_link(packet.destination) {
            Some(Reason::Host)
        } else if !(self.config.may_ping)(packet.destination) {
            Some(Reason::Prohibited)
        } else {
            self.echo.request(mac, packet, Instant::now(), self.registry.as_ref()).err()
        };
        if let Some(reason) = reason {
            ping::refuse(&self.config, mac, packet, reason, &mut self.outbox);
        }
    }
}
