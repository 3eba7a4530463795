//! Stand-in: the network in this process.

use std::net::{IpAddr, TcpListener, UdpSocket};

use hv_core::{
    memory::GuestBuffer,
    net::{FrameHeader, NetBackend, Offloads, Received},
};

/// Addresses.
pub mod addresses {
    use std::net::{Ipv4Addr, Ipv6Addr};

    /// The guest.
    pub const GUEST_V4: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);
    /// The router.
    pub const GATEWAY_V4: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
    /// The name server.
    pub const DNS_V4: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 3);
    /// The guest.
    pub const GUEST_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x6876, 0, 0, 0, 0, 0, 0x15);
    /// The router.
    pub const GATEWAY_LINK_LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2);
    /// Bits of the network.
    pub const PREFIX_V4: u8 = 24;
    /// Bits of the network.
    pub const PREFIX_V6: u8 = 64;
}

/// What is carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// A port of the host that leads to one of the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forward {
    /// What is carried.
    pub protocol: Protocol,
    /// This host's.
    pub address: IpAddr,
    /// This host's.
    pub host_port: u16,
    /// The guest's.
    pub guest_port: u16,
}

/// How it is.
#[derive(Debug, Clone, Default)]
pub struct UserConfig {
    /// Ports.
    pub forwards: Vec<Forward>,
    /// The guest may reach this host.
    pub host: bool,
    /// Connections.
    pub max_connections: usize,
}

/// It is refused.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct UserError(String);

/// The network.
#[derive(Debug)]
pub struct UserNetwork {
    forwards: Vec<Forward>,
    _tcp: Vec<TcpListener>,
    _udp: Vec<UdpSocket>,
}

/// The network as others see it.
#[derive(Debug, Clone)]
pub struct UserHandle(Vec<Forward>);

impl UserNetwork {
    /// Binds.
    pub fn new(config: UserConfig) -> Result<Self, UserError> {
        let (mut forwards, mut tcp, mut udp) = (config.forwards, Vec::new(), Vec::new());
        for forward in &mut forwards {
            let Forward { protocol, address, host_port, .. } = *forward;
            let bound = match protocol {
                Protocol::Tcp => TcpListener::bind((address, host_port)).and_then(|socket| {
                    forward.host_port = socket.local_addr()?.port();
                    tcp.push(socket);
                    Ok(())
                }),
                Protocol::Udp => UdpSocket::bind((address, host_port)).and_then(|socket| {
                    forward.host_port = socket.local_addr()?.port();
                    udp.push(socket);
                    Ok(())
                }),
            };
            bound.map_err(|error| {
                UserError(format!(
                    "port {host_port} of {address} cannot be taken: {error}; use another --publish"
                ))
            })?;
        }
        Ok(Self { forwards, _tcp: tcp, _udp: udp })
    }

    /// Its handle.
    pub fn handle(&self) -> UserHandle {
        UserHandle(self.forwards.clone())
    }
}

impl UserHandle {
    /// Ports as they were bound.
    pub fn forwards(&self) -> &[Forward] {
        &self.0
    }

    /// Connections.
    pub fn tcp_connections(&self) -> usize {
        0
    }

    /// Exchanges.
    pub fn udp_exchanges(&self) -> usize {
        0
    }
}
impl NetBackend for UserNetwork {
    fn takes(&self) -> Offloads {
        Offloads::empty()
    }

    fn gives(&self) -> Offloads {
        Offloads::empty()
    }

    fn start(&mut self, _: Offloads, _: &mio::Registry) -> std::io::Result<()> {
        Ok(())
    }

    fn stop(&mut self, _: &mio::Registry) {}

    fn wake(&mut self, _: &mio::Events) {}

    fn send(&mut self, _: FrameHeader, _: GuestBuffer<'_>) -> std::io::Result<bool> {
        Ok(true)
    }

    fn next_len(&mut self) -> Option<usize> {
        None
    }

    fn receive(&mut self, _: GuestBuffer<'_>) -> std::io::Result<Option<Received>> {
        Ok(None)
    }
}
