//! Sockets of the host for datagrams, connected to one peer each.

use std::{io, net, net::SocketAddr};

use mio::{Interest, Registry, Token, net::UdpSocket};

/// Datagrams that are taken at one wake; further ones wake again, so that a peer cannot hold the thread.
pub(super) const MAX_AT_ONCE: usize = 64;

/// Room for the longest datagram, in bytes.
pub(super) const MAX_DATAGRAM: usize = 65_536;

/// A connected socket that wakes under a token.
pub(super) struct Datagrams {
    socket: UdpSocket,
    token: Token,
}

impl Datagrams {
    /// A UDP socket at a port that the host chooses, connected to `peer`.
    pub(super) fn udp(registry: &Registry, token: Token, peer: SocketAddr) -> io::Result<Self> {
        let any: SocketAddr = if peer.is_ipv4() {
            (net::Ipv4Addr::UNSPECIFIED, 0).into()
        } else {
            (net::Ipv6Addr::UNSPECIFIED, 0).into()
        };
        let socket = net::UdpSocket::bind(any)?;
        Self::connect(registry, token, socket, peer)
    }

    /// `socket`, which need not be one of UDP, connected to `peer`.
    pub(super) fn connect(
        registry: &Registry,
        token: Token,
        socket: net::UdpSocket,
        peer: SocketAddr,
    ) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        socket.connect(peer)?;
        let mut socket = UdpSocket::from_std(socket);
        registry.register(&mut socket, token, Interest::READABLE)?;
        Ok(Self { socket, token })
    }

    /// The port at this end; for ICMP on Linux the identifier of echo messages.
    pub(super) fn port(&self) -> io::Result<u16> {
        Ok(self.socket.local_addr()?.port())
    }

    /// Sends; what the host has no room for is lost, as datagrams may be.
    pub(super) fn send(&self, message: &[u8]) -> io::Result<()> {
        match self.socket.send(message) {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
            _ => Ok(()),
        }
    }

    /// The next datagram, in `buffer`, or what became of one that was sent; `None` if there is none yet.
    pub(super) fn receive<'a>(&self, buffer: &'a mut [u8]) -> Option<io::Result<&'a [u8]>> {
        match self.socket.recv(buffer) {
            Ok(len) => Some(Ok(&buffer[..len])),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            Err(error) => Some(Err(error)),
        }
    }

    /// Wakes again if there is more to receive.
    pub(super) fn rearm(&mut self, registry: &Registry) {
        // It can fail only if the socket is not registered, and it is.
        let _ = registry.reregister(&mut self.socket, self.token, Interest::READABLE);
    }
}
