//! What the gateway does itself: for now, it answers ARP and remembers who the guest is.

use std::{
    collections::VecDeque,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Instant,
};

use super::{
    addresses::{DNS_V4, GATEWAY_MAC, GATEWAY_V4, may_be_guest},
    packet::{Packet, TCP, UDP},
};

/// What became of a frame.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// It was for the services, or for nobody.
    Handled,
    /// It is TCP or UDP that leaves the network: itself, or the frame that was made of it and others.
    Pass(Option<Vec<u8>>),
}

/// What the gateway does itself.
#[derive(Debug, Default)]
pub(crate) struct Services {
    replies: VecDeque<Vec<u8>>,
    mac: Option<[u8; 6]>,
    ipv4: Option<Ipv4Addr>,
    ipv6: Option<Ipv6Addr>,
}

impl Services {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn handle(&mut self, frame: &[u8]) -> Verdict {
        if frame.get(12..14) == Some(&[8, 6]) {
            self.answer_arp(frame);
        }
        let Some(packet) = Packet::parse(frame) else { return Verdict::Handled };
        if let Some(mac) = frame[6..].first_chunk().filter(|_| may_be_guest(packet.source)) {
            self.mac = Some(*mac);
            match packet.source {
                IpAddr::V4(address) => self.ipv4 = Some(address),
                IpAddr::V6(address) => self.ipv6 = Some(address),
            }
        }
        if packet.is_fragment || ![TCP, UDP].contains(&packet.protocol) {
            return Verdict::Handled;
        }
        Verdict::Pass(None)
    }

    fn answer_arp(&mut self, frame: &[u8]) {
        let Some(arp) = frame[14..].first_chunk::<28>() else { return };
        let target = Ipv4Addr::new(arp[24], arp[25], arp[26], arp[27]);
        let sender = Ipv4Addr::new(arp[14], arp[15], arp[16], arp[17]);
        if arp[..8] != [0, 1, 8, 0, 6, 4, 0, 1] || self.replies.len() > 64 || !may_be_guest(sender.into()) {
            return;
        }
        self.ipv4 = Some(sender);
        self.mac = arp[8..].first_chunk().copied();
        if ![GATEWAY_V4, DNS_V4].contains(&target) {
            return;
        }
        let mut reply = arp[8..14].to_vec();
        reply.extend(GATEWAY_MAC);
        reply.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 2]);
        reply.extend(GATEWAY_MAC);
        reply.extend(target.octets());
        reply.extend(&arp[8..18]);
        self.replies.push_back(reply);
    }

    pub(crate) fn next_frame(&mut self) -> Option<Vec<u8>> {
        self.replies.pop_front()
    }

    #[expect(clippy::unused_self, reason = "the stand-in has no sockets")]
    pub(crate) fn start(&mut self, _registry: &mio::Registry) {}

    pub(crate) fn stop(&mut self, _registry: &mio::Registry) {
        *self = Self::new();
    }

    #[expect(clippy::unused_self, reason = "the stand-in has no sockets")]
    pub(crate) fn wake(&mut self, _token: mio::Token) {}

    #[expect(clippy::unused_self, reason = "the stand-in has no timers")]
    pub(crate) fn deadline(&self) -> Option<Instant> {
        None
    }

    pub(crate) fn guest_mac(&self) -> Option<[u8; 6]> {
        self.mac
    }

    pub(crate) fn guest_ipv4(&self) -> Option<Ipv4Addr> {
        self.ipv4
    }

    pub(crate) fn guest_ipv6(&self) -> Option<Ipv6Addr> {
        self.ipv6
    }
}
