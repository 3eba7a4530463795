//! `UserNetwork`: a network in this process, behind which the guest reaches the world by sockets of the host, with no
//! privilege and no helper.
//!
//! TCP ends here: smoltcp is the guest's other end, and a socket of the host goes on. UDP is passed on datagram by
//! datagram. All of it runs on the thread of the network card; nothing has a timer while nothing is under way.

pub mod addresses;
mod backend;
mod config;
mod deadlines;
mod error;
mod forward;
mod fragments;
mod icmp;
mod link;
mod packet;
mod policy;
pub(crate) mod services;
mod slots;
mod tcp;
mod udp;

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use hv_core::net::{FrameHeader, MAX_FRAME};

use self::{
    addresses::{GATEWAY_MAC, GUEST_V4, is_name_server, may_be_guest},
    config::Shared,
    forward::{Bound, Listener},
    link::{Frame, Link},
    packet::{Packet, TCP, UDP},
    services::{Services, ServicesConfig, Verdict},
    tcp::Tcp,
    udp::{Port, Udp},
};
pub use self::{
    config::{UserConfig, UserHandle},
    error::UserError,
    forward::{Forward, Protocol},
};

/// The first of mio's tokens of connections; those of forwarded ports are below.
const FIRST_TCP: usize = 1 << 16;

/// The first of mio's tokens of exchanges over UDP.
const FIRST_UDP: usize = 1 << 18;

/// The first of mio's tokens of services.
const FIRST_SERVICE: usize = 1 << 20;

/// The most that may be said: there are tokens for no more.
const MOST_CONNECTIONS: usize = FIRST_UDP - FIRST_TCP;

/// After this a port is listened on again where the host was out of descriptors.
const RETRY: Duration = Duration::from_millis(100);

/// Clients that are let in at a time, so that the guest's frames are not kept waiting.
const MAX_ACCEPTED: usize = 64;

/// A network in this process, with the guest and a gateway to the world.
pub struct UserNetwork {
    shared: Arc<Shared>,
    forwards: Vec<Bound>,
    services: Services,
    link: Link,
    tcp: Tcp,
    udp: Udp,
    /// The guest's frame that is looked at.
    buffer: Box<[u8]>,
    /// The next frame for the guest, if its length is not 0.
    next: Frame,
    /// Whether UDP goes before TCP this time.
    udp_first: bool,
    /// When to listen again on ports where the host was out of descriptors.
    retry: Option<Instant>,
}

impl UserNetwork {
    /// Makes the network and binds all forwarded ports.
    ///
    /// # Errors
    /// A port cannot be bound; none is then.
    pub fn new(config: UserConfig) -> Result<Self, UserError> {
        let UserConfig { forwards, host, max_connections } = config;
        let forwards = forward::bind(forwards)?;
        let shared = Shared {
            forwards: forwards.iter().map(|bound| bound.forward).collect(),
            tcp: AtomicUsize::new(0),
            udp: AtomicUsize::new(0),
        };
        Ok(Self {
            shared: Arc::new(shared),
            forwards,
            services: Services::new(ServicesConfig::new(host)),
            link: Link::new(),
            tcp: Tcp::new(FIRST_TCP, max_connections.min(MOST_CONNECTIONS), host),
            udp: Udp::new(FIRST_UDP, host),
            buffer: vec![0; MAX_FRAME].into_boxed_slice(),
            next: Frame::new(),
            udp_first: false,
            retry: None,
        })
    }

    /// What others may know of it.
    pub fn handle(&self) -> UserHandle {
        UserHandle(Arc::clone(&self.shared))
    }

    fn count(&self) {
        self.shared.tcp.store(self.tcp.len(), Relaxed);
        self.shared.udp.store(self.udp.len(), Relaxed);
    }

    /// Takes the frame of `len` bytes in the buffer.
    fn take(&mut self, header: FrameHeader, len: usize) {
        let frame = &self.buffer[..len];
        let packet = Packet::parse(frame);
        // What belongs to connections does not go by the services; what may begin one does, since it says who the
        // guest is.
        let is_segment = |packet: &Packet| {
            let flags = frame.get(packet.transport + 13).copied().unwrap_or(0);
            packet.protocol == TCP && !packet.is_fragment && flags & 2 == 0 && self.link.guest.is_some()
        };
        let verdict = match packet {
            Some(packet) if is_segment(&packet) => Verdict::Pass(None),
            _ => {
                let verdict = self.services.handle(frame);
                self.link.guest = self.services.guest_mac();
                verdict
            }
        };
        let (packet, flags) = match verdict {
            Verdict::Handled => return,
            Verdict::Pass(None) => (packet, header.flags),
            Verdict::Pass(Some(whole)) => {
                let len = whole.len().min(self.buffer.len());
                self.buffer[..len].copy_from_slice(&whole[..len]);
                (Packet::parse(&self.buffer[..len]), 0)
            }
        };
        if let Some(packet) = packet {
            self.pass(&packet, flags);
        }
    }

    /// Takes the packet in the buffer, which leaves the network.
    fn pass(&mut self, packet: &Packet, flags: u8) {
        let frame = &mut self.buffer;
        if packet.is_fragment || frame[..6] != GATEWAY_MAC || !may_be_guest(packet.source) {
            return;
        }
        // What the guest leaves to us nobody needs: the bytes did not leave memory.
        let is_sure = flags & (FrameHeader::NEEDS_CHECKSUM | FrameHeader::CHECKSUM_IS_VALID) != 0;
        if !is_sure && !packet.checksum_is_right(frame) {
            return;
        }
        match packet.protocol {
            TCP => {
                if is_name_server(packet.destination) {
                    self.link.name_server = self.services.resolver();
                }
                self.tcp.input(&mut self.link, frame, packet);
            }
            UDP => {
                let forwards = &self.forwards;
                self.udp.input(&mut self.link, frame, packet, |number| Some(udp_port(forwards, number)?.0));
            }
            _ => {}
        }
    }

    /// Makes the next frame, if there is none yet and something is to be said.
    fn prepare(&mut self) {
        if self.next.len > 0 {
            return;
        }
        self.link.now = Instant::now();
        self.tcp.flush(&mut self.link);
        if let Some(frame) = self.services.next_frame() {
            self.next.len = frame.len().min(self.next.bytes.len());
            self.next.bytes[..self.next.len].copy_from_slice(&frame[..self.next.len]);
            self.next.header = FrameHeader::default();
            return;
        }
        if self.link.pop(&mut self.next) {
            return;
        }
        self.udp_first = !self.udp_first;
        if self.udp_first && self.prepare_udp() || self.tcp.output(&mut self.link, &mut self.next) {
            return;
        }
        let _ = self.prepare_udp() || self.link.pop(&mut self.next);
    }

    fn prepare_udp(&mut self) -> bool {
        let Self { forwards, services, udp, link, next, .. } = self;
        udp.output(link, next, |number| {
            let (socket, guest_port) = udp_port(forwards, number)?;
            Some((Port { number, socket }, SocketAddr::new(guest_address(services), guest_port)))
        })
    }

    /// Lets clients of the forwarded port with this number in.
    fn accept(&mut self, number: usize) {
        let Some(Bound { forward, listener: Listener::Tcp(listener) }) = self.forwards.get(number) else {
            return self.udp.forward_event(number);
        };
        let guest = SocketAddr::new(guest_address(&self.services), forward.guest_port);
        if self.link.guest.is_none() {
            // It has not said anything yet; the connection's first packet comes again when it has answered.
            self.services.resolve(guest.ip());
        }
        for _ in 0..MAX_ACCEPTED {
            match listener.accept() {
                Ok((stream, client)) => self.tcp.accept(&mut self.link, stream, client, guest),
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => return,
                    // Not this client any more.
                    io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted => {}
                    _ => break,
                },
            }
        }
        // There may be more, of which no event tells.
        self.retry.get_or_insert(self.link.now + RETRY);
    }

    fn accept_all(&mut self) {
        for number in 0..self.forwards.len() {
            self.accept(number);
        }
    }
}

/// The socket of a forwarded port of UDP, and the guest's port.
fn udp_port(forwards: &[Bound], number: usize) -> Option<(&mio::net::UdpSocket, u16)> {
    match forwards.get(number)? {
        Bound { forward, listener: Listener::Udp(socket) } => Some((socket, forward.guest_port)),
        _ => None,
    }
}

/// The guest's address that forwarded ports lead to.
fn guest_address(services: &Services) -> IpAddr {
    let ipv4 = services.guest_ipv4().map(IpAddr::from);
    ipv4.or(services.guest_ipv6().map(IpAddr::from)).unwrap_or(GUEST_V4.into())
}

#[cfg(test)]
mod tests;
