//! The host's ends of connections: how they begin, and what the host says of them.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    os::fd::AsFd,
    time::Duration,
};

use mio::{Interest, Token, event::Event, net::TcpStream};
use rustix::net::sockopt;
use smoltcp::{
    socket::tcp::State,
    wire::{IpEndpoint, IpListenEndpoint},
};

use super::{
    Tcp,
    flow::{Flow, Open, Stage},
    segment::Segment,
    tell_segment_size,
};
use crate::user::{
    addresses::is_name_server,
    icmp::Reason,
    link::{Ends, Link, ip_header_len},
    packet::Packet,
    policy,
};

/// Ports of the gateway that are tried for a client of a forwarded port.
const TRIED_PORTS: usize = 64;

/// The port of name servers.
const DNS_PORT: u16 = 53;

/// The first port that is no well-known one.
const FIRST_PORT: u16 = 1024;

/// Has the host send a RST when `stream` is closed.
pub(super) fn reset(stream: &TcpStream) {
    // If it fails the connection ends with a FIN, and nothing else is to be done.
    let _ = sockopt::set_socket_linger(stream.as_fd(), Some(Duration::ZERO));
}

/// What both kinds of connections want of the host's socket: no waiting, and a look now and then whether the other end
/// is there still, which the guest cannot take.
fn prepare(stream: &TcpStream) {
    let _ = stream.set_nodelay(true);
    let _ = sockopt::set_socket_keepalive(stream.as_fd(), true);
}

impl Tcp {
    /// The guest wants a connection: asks the host first, and keeps the SYN until that has answered.
    pub(super) fn connect(&mut self, link: &mut Link, frame: &mut [u8], packet: &Packet, ends: Ends) {
        let syn = packet.without_extensions(frame);
        let allowed = self.flows.len() < self.max_connections && ends.remote.port() != 0;
        let address = if !allowed {
            None
        } else if is_name_server(ends.remote.ip()) {
            link.name_server.filter(|_| ends.remote.port() == DNS_PORT)
        } else {
            let admitted = policy::admit(ends.remote.ip(), self.host);
            admitted.map(|address| SocketAddr::new(address, ends.remote.port()))
        };
        let Some(address) = address else { return self.refuse(link, ends, syn) };
        match TcpStream::connect(address) {
            Ok(stream) => {
                let stage = Stage::Connecting { syn: syn.to_vec(), since: link.now };
                if let Some(slot) = self.add(link, Flow { ends, stream, stage, planned: None }) {
                    self.settle(link, slot);
                } else {
                    self.refuse(link, ends, syn);
                }
            }
            Err(error) => self.cannot_connect(link, ends, syn, &error),
        }
    }

    fn cannot_connect(&mut self, link: &mut Link, ends: Ends, syn: &[u8], error: &io::Error) {
        match error.kind() {
            io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable | io::ErrorKind::TimedOut => {
                Self::report(link, ends, syn, Reason::Host);
            }
            io::ErrorKind::PermissionDenied => Self::report(link, ends, syn, Reason::Prohibited),
            _ => self.refuse(link, ends, syn),
        }
    }

    /// Adds a flow and has its host's end watched.
    fn add(&mut self, link: &Link, mut flow: Flow) -> Option<usize> {
        let token = Token(self.first_token + self.flows.next());
        let interest = Interest::READABLE | Interest::WRITABLE;
        link.registry.as_ref()?.register(&mut flow.stream, token, interest).ok()?;
        let ends = flow.ends;
        let slot = self.flows.insert(flow);
        self.by_ends.insert(ends, slot);
        Some(slot)
    }

    /// The host says something of the connection with number `slot`.
    pub(crate) fn event(&mut self, link: &mut Link, slot: usize, event: &Event) {
        let Some(flow) = self.flows.at(slot) else { return };
        let Stage::Open(open) = &mut flow.stage else {
            return self.has_connected(link, slot);
        };
        open.readable |= event.is_readable() || event.is_read_closed() || event.is_error();
        open.is_ending |= event.is_read_closed();
        open.writable |= event.is_writable() || event.is_error();
        if open.was_ended_by_host {
            open.readable = false;
            // Otherwise what comes before the error is read first.
            open.is_reset |= event.is_error() && !matches!(flow.stream.take_error(), Ok(None));
        }
        open.drain(&flow.stream);
        self.settle(link, slot);
    }

    /// The host has perhaps answered whether there is a connection.
    fn has_connected(&mut self, link: &mut Link, slot: usize) {
        let Some(flow) = self.flows.at(slot) else { return };
        let ends = flow.ends;
        let error = match flow.stream.take_error() {
            Ok(None) => match flow.stream.peer_addr() {
                Ok(_) => None,
                Err(error) if error.kind() == io::ErrorKind::NotConnected => return,
                Err(error) => Some(error),
            },
            Ok(Some(error)) | Err(error) => Some(error),
        };
        let Stage::Connecting { syn, .. } = &mut flow.stage else { return };
        let mut syn = std::mem::take(syn);
        if let Some(error) = error {
            self.remove(link, slot, false);
            return self.cannot_connect(link, ends, &syn, &error);
        }
        prepare(&flow.stream);
        let transport = match ends.guest.ip() {
            IpAddr::V4(_) => usize::from(syn[0] & 15) * 4,
            address @ IpAddr::V6(_) => ip_header_len(address),
        };
        let mut open = Open::new(&mut self.rings);
        let endpoint = IpListenEndpoint { addr: Some(ends.remote.ip().into()), port: ends.remote.port() };
        let listens = open.socket().listen(endpoint).is_ok();
        if let Some(segment) = Segment::parse(&syn[transport..]) {
            let capacity = u32::try_from(open.socket().recv_capacity()).unwrap_or(u32::MAX);
            open.edge = segment.sequence.wrapping_add(1).wrapping_add(capacity);
        }
        open.segment = tell_segment_size(link, ends, &mut syn[transport..]);
        self.stack.input(link.now, &mut open.sockets, &syn, &mut self.reply);
        let is_open = listens && open.socket().state() == State::SynReceived;
        flow.stage = Stage::Open(Box::new(open));
        if is_open {
            self.settle(link, slot);
        } else {
            // smoltcp does not like the SYN, which the guest has to live with.
            self.remove(link, slot, true);
        }
    }

    /// A client of a forwarded port wants a connection to `guest`: as long as the guest has not refused it, it has one.
    pub(crate) fn accept(
        &mut self,
        link: &mut Link,
        stream: TcpStream,
        client: SocketAddr,
        guest: SocketAddr,
    ) {
        let ends = self.ends_for(client, guest).filter(|_| self.flows.len() < self.max_connections);
        let (Some(ends), Some(_)) = (ends, link.guest) else { return reset(&stream) };
        prepare(&stream);
        let mut open = Open::new(&mut self.rings);
        let (tier, local) = (open.tier, IpEndpoint::from(ends.remote));
        open.segment = super::our_segment_size(ends);
        let connected = open.socket().connect(self.stack.context(), ends.guest, local).is_ok();
        let stage = Stage::Open(Box::new(open));
        match self.add(link, Flow { ends, stream, stage, planned: None }) {
            Some(slot) if connected => self.settle(link, slot),
            Some(slot) => self.remove(link, slot, true),
            None => self.rings.give_back(tier),
        }
    }

    /// Ends for a client: the gateway's address, and the client's port if that is free.
    fn ends_for(&mut self, client: SocketAddr, guest: SocketAddr) -> Option<Ends> {
        let gateway = crate::user::addresses::gateway_towards(guest.ip());
        let mut port = client.port();
        for _ in 0..TRIED_PORTS {
            let ends = Ends { guest, remote: SocketAddr::new(gateway, port.max(FIRST_PORT)) };
            if !self.by_ends.contains_key(&ends) {
                return Some(ends);
            }
            self.next_port = self.next_port.wrapping_add(1).max(FIRST_PORT);
            port = self.next_port;
        }
        None
    }
}
