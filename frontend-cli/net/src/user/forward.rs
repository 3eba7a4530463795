//! Ports of the host that lead to the guest.

use std::{
    collections::HashSet,
    fmt, io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

use mio::net::{TcpListener, UdpSocket};

use super::UserError;

/// A protocol over IP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

/// A port of the host that leads to a port of the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Forward {
    /// What is forwarded.
    pub protocol: Protocol,
    /// The host's address that is listened on: by default its loopback, which nobody else reaches.
    pub address: IpAddr,
    /// The host's port; 0 is any that is free.
    pub host_port: u16,
    /// The guest's port.
    pub guest_port: u16,
}

impl Forward {
    /// `host_port` of 127.0.0.1 to `guest_port`.
    pub fn new(protocol: Protocol, host_port: u16, guest_port: u16) -> Self {
        Self { protocol, address: Ipv4Addr::LOCALHOST.into(), host_port, guest_port }
    }
}

/// What listens on the host.
#[derive(Debug)]
pub(crate) enum Listener {
    Tcp(TcpListener),
    Udp(UdpSocket),
}

/// A forward whose port is bound.
#[derive(Debug)]
pub(crate) struct Bound {
    /// With the port that was really bound.
    pub(crate) forward: Forward,
    pub(crate) listener: Listener,
}

/// Binds all of `forwards`, or none.
pub(crate) fn bind(forwards: Vec<Forward>) -> Result<Vec<Bound>, UserError> {
    let mut seen = HashSet::new();
    let bind = |forward: Forward| {
        let (address, protocol) = (SocketAddr::new(forward.address, forward.host_port), forward.protocol);
        if !seen.insert((protocol, address)) && forward.host_port != 0 {
            return Err(UserError::Twice { address, protocol });
        }
        let (listener, address) =
            listen(protocol, address).map_err(|source| UserError::Bind { address, protocol, source })?;
        Ok(Bound { forward: Forward { host_port: address.port(), ..forward }, listener })
    };
    forwards.into_iter().map(bind).collect()
}

fn listen(protocol: Protocol, address: SocketAddr) -> io::Result<(Listener, SocketAddr)> {
    match protocol {
        Protocol::Tcp => {
            let listener = TcpListener::bind(address)?;
            let address = listener.local_addr()?;
            Ok((Listener::Tcp(listener), address))
        }
        Protocol::Udp => {
            let socket = UdpSocket::bind(address)?;
            let address = socket.local_addr()?;
            Ok((Listener::Udp(socket), address))
        }
    }
}

impl Bound {
    pub(crate) fn register(&mut self, registry: &mio::Registry, token: mio::Token) -> io::Result<()> {
        let interest = mio::Interest::READABLE;
        match &mut self.listener {
            Listener::Tcp(listener) => registry.register(listener, token, interest),
            Listener::Udp(socket) => registry.register(socket, token, interest),
        }
    }

    pub(crate) fn deregister(&mut self, registry: &mio::Registry) {
        // It is not registered if `register` failed.
        let _ = match &mut self.listener {
            Listener::Tcp(listener) => registry.deregister(listener),
            Listener::Udp(socket) => registry.deregister(socket),
        };
    }
}
