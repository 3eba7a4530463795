//! Frames that wait for the guest, and how they are made: cut to the MTU, with complete checksums.

use std::{
    collections::VecDeque,
    net::{IpAddr, SocketAddr},
};

use smoltcp::wire::{ETHERNET_HEADER_LEN, EthernetProtocol, IpProtocol, UDP_HEADER_LEN, UdpPacket};

use super::{
    DNS_PORT,
    dns::Answer,
    ethernet::{self, Header},
};
use crate::user::{
    fragments::fragments,
    icmp,
    link::{HOP_LIMIT, ip_header_len},
    packet::IPV4,
};

/// Frames that wait at most; the oldest gives way. Enough for ten answers of 64 KiB in fragments of 1500 bytes.
const MAX_FRAMES: usize = 512;

/// An IPv4 packet of this size is never cut (RFC 791, 3.1), so no MTU is taken for smaller.
const MIN_MTU: u16 = 576;

/// The queue to the guest.
pub(super) struct Outbox {
    frames: VecDeque<Vec<u8>>,
    mac: [u8; 6],
    mtu: usize,
    identification: u32,
}

impl Outbox {
    /// Frames come from `mac`; no IP packet is longer than `mtu`.
    pub(super) fn new(mac: [u8; 6], mtu: u16) -> Self {
        Self { frames: VecDeque::new(), mac, mtu: mtu.max(MIN_MTU).into(), identification: 0 }
    }

    pub(super) fn next(&mut self) -> Option<Vec<u8>> {
        let frame = self.frames.pop_front();
        if self.frames.is_empty() {
            // A burst's room is not kept.
            self.frames.shrink_to(8);
        }
        frame
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    pub(super) fn clear(&mut self) {
        self.frames = VecDeque::new();
    }

    pub(super) fn push(&mut self, frame: Vec<u8>) {
        if self.frames.len() >= MAX_FRAMES {
            self.frames.pop_front();
        }
        self.frames.push_back(frame);
    }

    /// An ARP packet, as `emit` writes it into `len` bytes.
    pub(super) fn arp(&mut self, to: [u8; 6], len: usize, emit: impl FnOnce(&mut [u8])) {
        let mut frame = ethernet::empty(self.mac, to, EthernetProtocol::Arp, len);
        emit(&mut frame[ETHERNET_HEADER_LEN..]);
        self.push(frame);
    }

    pub(super) fn dns_answer(&mut self, answer: &Answer) {
        let from = SocketAddr::new(answer.client.server, DNS_PORT);
        self.udp(answer.client.mac, from, answer.client.address, &answer.message);
    }

    /// A UDP datagram; one that is too long for IP is dropped.
    pub(super) fn udp(&mut self, mac: [u8; 6], from: SocketAddr, to: SocketAddr, payload: &[u8]) {
        let mut bytes = vec![0; UDP_HEADER_LEN + payload.len()];
        let Ok(len) = u16::try_from(bytes.len()) else { return };
        if from.is_ipv4() != to.is_ipv4() {
            return;
        }
        bytes[UDP_HEADER_LEN..].copy_from_slice(payload);
        let mut datagram = UdpPacket::new_unchecked(&mut bytes[..]);
        datagram.set_src_port(from.port());
        datagram.set_dst_port(to.port());
        datagram.set_len(len);
        datagram.fill_checksum(&from.ip().into(), &to.ip().into());
        self.ip(mac, from.ip(), to.ip(), IpProtocol::Udp, HOP_LIMIT, &bytes);
    }

    /// An ICMP message, whose checksum is computed here.
    pub(super) fn icmp(&mut self, mac: [u8; 6], source: IpAddr, destination: IpAddr, message: &mut [u8]) {
        self.icmp_with(mac, source, destination, HOP_LIMIT, message);
    }

    /// The same with another hop limit.
    pub(super) fn icmp_with(
        &mut self,
        mac: [u8; 6],
        source: IpAddr,
        destination: IpAddr,
        hop_limit: u8,
        message: &mut [u8],
    ) {
        if source.is_ipv4() != destination.is_ipv4() || message.len() < icmp::HEADER {
            return;
        }
        let protocol = icmp::seal(source, destination, message).into();
        self.ip(mac, source, destination, protocol, hop_limit, message);
    }

    fn ip(
        &mut self,
        mac: [u8; 6],
        source: IpAddr,
        destination: IpAddr,
        protocol: IpProtocol,
        hop_limit: u8,
        payload: &[u8],
    ) {
        let header = Header { source, destination, protocol, hop_limit };
        let Some(frame) = ethernet::frame(self.mac, mac, &header, payload) else { return };
        let transport = ETHERNET_HEADER_LEN + ip_header_len(source);
        if frame.len() <= ETHERNET_HEADER_LEN + self.mtu {
            return self.push(frame);
        }
        // Put together again, a packet is never longer than IPv4's.
        if u16::try_from(payload.len() + IPV4).is_err() {
            return;
        }
        self.identification = self.identification.wrapping_add(1);
        for fragment in fragments(&frame, transport, self.mtu, self.identification) {
            self.push(fragment);
        }
    }
}
