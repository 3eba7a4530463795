//! What fuzz targets play against, which is no interface for others.

use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Instant,
};

use crate::{
    segment,
    user::{
        addresses,
        services::{Services, ServicesConfig, Verdict, message, resolver},
    },
};

/// The user network's own services, without sockets.
pub struct Frames(Services);

impl Frames {
    /// The Ethernet address of the gateway.
    pub const GATEWAY: [u8; 6] = addresses::GATEWAY_MAC;
    /// The longest IP packet for the guest.
    pub const MTU: u16 = addresses::MTU;

    /// Services with the network's usual addresses.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "there is nothing to default to")]
    pub fn new() -> Self {
        Self(Services::new(config()))
    }

    /// Gives it a frame; what is to be passed to the NAT.
    pub fn handle(&mut self, frame: &[u8]) -> Option<Vec<u8>> {
        match self.0.handle(frame) {
            Verdict::Handled => None,
            Verdict::Pass(whole) => Some(whole.unwrap_or_else(|| frame.to_vec())),
        }
    }

    /// The next frame for the guest.
    pub fn next_frame(&mut self) -> Option<Vec<u8>> {
        self.0.next_frame()
    }

    /// Asks the guest for an address.
    pub fn resolve(&mut self, address: std::net::IpAddr) {
        self.0.resolve(address);
    }

    /// Lets all time pass that is waited for.
    pub fn pass_time(&mut self) {
        while let Some(deadline) = self.0.deadline() {
            let before = self.0.deadline();
            self.0.tick(deadline);
            // An advertisement is due again and again.
            if self.0.deadline() >= before
                && before > Some(Instant::now() + std::time::Duration::from_secs(3600))
            {
                break;
            }
        }
    }

    /// What was learned of the guest.
    #[must_use]
    pub fn guest(&self) -> (Option<[u8; 6]>, Option<Ipv4Addr>, Option<Ipv6Addr>) {
        (self.0.guest_mac(), self.0.guest_ipv4(), self.0.guest_ipv6())
    }
}

/// The name servers in a `resolv.conf`.
#[must_use]
pub fn name_servers(bytes: &[u8]) -> Vec<SocketAddr> {
    resolver::parse(bytes, |name| u32::try_from(name.len()).ok())
}

/// Whether `message` answers the DNS query `query`.
#[must_use]
pub fn is_dns_answer(message: &[u8], query: &[u8]) -> bool {
    message::is_answer(message, query)
}

/// What is answered to a DNS query of a name with addresses of both versions, and to one that fails.
#[must_use]
pub fn dns_answers(query: &[u8]) -> Option<[Vec<u8>; 2]> {
    let question = message::question(query).filter(|_| message::is_query(query))?;
    let addresses = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    Some([message::answer(query, &question, &addresses), message::failure(query, message::SERVER_FAILURE)])
}

/// The addresses of the user network; no name server, no pings to others.
pub(crate) fn config() -> ServicesConfig {
    ServicesConfig {
        host_name: Some("guest".into()),
        names: vec![("named.example".into(), vec![Ipv4Addr::new(192, 0, 2, 7).into()])],
        resolver_config: "/nonexistent/resolv.conf".into(),
        may_ping: Box::new(|_| false),
        ..ServicesConfig::new(false)
    }
}

/// Who the guests of a segment are, as a member of it knows them by their datagrams.
#[derive(Debug, Default)]
pub struct SegmentMembers(segment::Learned);

impl SegmentMembers {
    /// Takes a datagram in; who sent it, and where its frame begins.
    pub fn hear<'a>(&mut self, datagram: &'a [u8]) -> Option<(&'a str, usize)> {
        let (name, at) = segment::sender(datagram)?;
        self.0.learn(crate::ethernet::source(datagram[at..].first_chunk()?), name);
        Some((name, at))
    }

    /// Who has an address.
    #[must_use]
    pub fn find(&self, address: [u8; 6]) -> Option<&str> {
        self.0.find(address)
    }
}
