//! Pings of hosts beyond, by the sockets that some hosts give everyone for it.

use std::{
    io,
    net::{IpAddr, SocketAddr, UdpSocket},
    time::{Duration, Instant},
};

use mio::{Registry, Token};
use rustix::net::{AddressFamily, SocketType, ipproto, socket};

use super::{
    FIRST_ECHO_TOKEN,
    datagrams::{Datagrams, MAX_AT_ONCE, MAX_DATAGRAM},
    ip::Packet,
    outbox::Outbox,
    ping,
};
use crate::user::icmp::Reason;

/// Pings to different hosts, or by different programs, that are under way at most; the oldest gives way.
const MAX_FLOWS: usize = 64;

/// How long after the last request an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// Requests of one program of the guest to one host.
struct Flow {
    mac: [u8; 6],
    guest: IpAddr,
    destination: IpAddr,
    /// The identifier of the guest's messages.
    identifier: [u8; 2],
    /// The identifier of the host's; Linux chooses it, macOS leaves the guest's.
    outer: [u8; 2],
    socket: Datagrams,
    ends: Instant,
}

/// Pings that are under way.
#[derive(Default)]
pub(super) struct Echo {
    /// Each is at the place that its token says.
    flows: Vec<Option<Flow>>,
}

impl Echo {
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.flows.iter().flatten().map(|flow| flow.ends).min()
    }

    pub(super) fn tick(&mut self, now: Instant) {
        for place in &mut self.flows {
            if place.as_ref().is_some_and(|flow| flow.ends <= now) {
                *place = None;
            }
        }
    }

    /// Passes the ping `packet` on.
    pub(super) fn request(
        &mut self,
        mac: [u8; 6],
        packet: &Packet<'_>,
        now: Instant,
        registry: Option<&Registry>,
    ) -> Result<(), Reason> {
        let [_, _, _, _, a, b, ..] = *packet.payload else { return Ok(()) };
        let (guest, destination, identifier) = (packet.source, packet.destination, [a, b]);
        let known = self.flows.iter().position(|flow| {
            flow.as_ref().is_some_and(|flow| {
                (flow.guest, flow.destination, flow.identifier) == (guest, destination, identifier)
            })
        });
        let place = match known {
            Some(place) => place,
            None => {
                let registry = registry.ok_or(Reason::Prohibited)?;
                let place = self.place();
                let socket = open(registry, Token(FIRST_ECHO_TOKEN + place), destination)
                    .map_err(|error| reason(&error))?;
                let outer = match socket.port() {
                    Ok(port) if port != 0 => port.to_be_bytes(),
                    _ => identifier,
                };
                let ends = now + PATIENCE;
                let flow = Flow { mac, guest, destination, identifier, outer, socket, ends };
                self.flows[place] = Some(flow);
                place
            }
        };
        let Some(flow) = &mut self.flows[place] else { return Ok(()) };
        (flow.mac, flow.ends) = (mac, now + PATIENCE);
        let mut message = packet.payload.to_vec();
        if guest.is_ipv4()
            && let Ok(mut message) = smoltcp::wire::Icmpv4Packet::new_checked(&mut message[..])
        {
            // The guest may have left it open. That of ICMPv6 is the host's business, which knows its own address.
            message.fill_checksum();
        }
        match flow.socket.send(&message) {
            // What became of an earlier one is said here too; this one was not sent, like one that gets lost.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
            sent => sent.map_err(|error| reason(&error)),
        }
    }

    /// What is at `index` became ready: answers go to the guest.
    pub(super) fn wake(&mut self, index: usize, registry: &Registry, outbox: &mut Outbox) {
        let Some(Some(flow)) = self.flows.get_mut(index) else { return };
        let mut buffer = vec![0; MAX_DATAGRAM];
        for _ in 0..MAX_AT_ONCE {
            let Some(received) = flow.socket.receive(&mut buffer) else { return };
            let Ok(message) = received else { continue };
            let Some(mut answer) = answer(flow, message) else { continue };
            outbox.icmp(flow.mac, flow.destination, flow.guest, &mut answer);
        }
        flow.socket.rearm(registry);
    }

    /// A free place, or that of the flow that would end first.
    fn place(&mut self) -> usize {
        if let Some(free) = self.flows.iter().position(Option::is_none) {
            return free;
        }
        if self.flows.len() < MAX_FLOWS {
            self.flows.push(None);
            return self.flows.len() - 1;
        }
        let ends = |flow: &Option<Flow>| flow.as_ref().map(|flow| flow.ends);
        let oldest = self.flows.iter().enumerate().min_by_key(|(_, flow)| ends(flow));
        let oldest = oldest.map_or(0, |(index, _)| index);
        self.flows[oldest] = None;
        oldest
    }
}

/// The guest's form of an answer that the host's socket got.
fn answer(flow: &Flow, received: &[u8]) -> Option<Vec<u8>> {
    let message = if flow.guest.is_ipv4() { without_ip(received) } else { received };
    let [kind, 0, _, _, a, b, _, _, ..] = *message else { return None };
    if kind != ping::echo_reply(flow.guest) || [a, b] != flow.outer {
        return None;
    }
    let mut message = message.to_vec();
    message[4..6].copy_from_slice(&flow.identifier);
    Some(message)
}

/// The ICMP message in `received`: macOS leaves the IPv4 header before it, and no message has a type that looks like one.
fn without_ip(received: &[u8]) -> &[u8] {
    match received.first() {
        Some(first) if first >> 4 == 4 => received.get(usize::from(first & 0xf) * 4..).unwrap_or_default(),
        _ => received,
    }
}

fn open(registry: &Registry, token: Token, destination: IpAddr) -> io::Result<Datagrams> {
    let (family, protocol) = match destination {
        IpAddr::V4(_) => (AddressFamily::INET, ipproto::ICMP),
        IpAddr::V6(_) => (AddressFamily::INET6, ipproto::ICMPV6),
    };
    let socket = socket(family, SocketType::DGRAM, Some(protocol))?;
    rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC)?;
    Datagrams::connect(registry, token, UdpSocket::from(socket), SocketAddr::new(destination, 0))
}

fn reason(error: &io::Error) -> Reason {
    match error.kind() {
        io::ErrorKind::NetworkUnreachable | io::ErrorKind::AddrNotAvailable => Reason::NoRoute,
        io::ErrorKind::HostUnreachable => Reason::Host,
        _ => Reason::Prohibited,
    }
}
