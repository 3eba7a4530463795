//! The guest's side of the network: frames for the guest, and what it accepts in them.

use std::{
    collections::VecDeque,
    mem,
    net::{IpAddr, SocketAddr},
    time::Instant,
};

use hv_core::net::{FrameHeader, MAX_FRAME, Offloads};

use super::{
    addresses::GATEWAY_MAC,
    packet::{ETHERNET, IPV4, IPV6, UDP},
};
use crate::{checksum::Sum, offload};

/// Frames that wait for the guest besides what flows have, at most; answers beyond are dropped, as on any link.
const MAX_WAITING: usize = 256;

/// The hop limit of what we send, but for neighbour discovery.
pub(crate) const HOP_LIMIT: u8 = 64;

/// Two ends of a connection or an exchange, as the guest sees them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Ends {
    /// The guest's.
    pub(crate) guest: SocketAddr,
    /// The other.
    pub(crate) remote: SocketAddr,
}

/// A frame that is being made, in a buffer for the longest.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) header: FrameHeader,
    pub(crate) bytes: Box<[u8]>,
    pub(crate) len: usize,
}

impl Frame {
    pub(crate) fn new() -> Self {
        // Fresh zeroed memory takes room only where it is written.
        Self { header: FrameHeader::default(), bytes: vec![0; MAX_FRAME].into_boxed_slice(), len: 0 }
    }

    pub(crate) fn filled(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// The guest's side of the network.
#[derive(Debug)]
pub(crate) struct Link {
    /// What the guest does for us.
    pub(crate) accepted: Offloads,
    /// The guest's MAC address, once it is known.
    pub(crate) guest: Option<[u8; 6]>,
    /// Where the guest's queries of names over TCP go; looked up when it begins one.
    pub(crate) name_server: Option<SocketAddr>,
    /// Where sockets are registered while a driver is there.
    pub(crate) registry: Option<mio::Registry>,
    /// The time of this call.
    pub(crate) now: Instant,
    waiting: VecDeque<(FrameHeader, Vec<u8>)>,
    identification: u16,
}

impl Link {
    pub(crate) fn new() -> Self {
        Self {
            accepted: Offloads::empty(),
            guest: None,
            name_server: None,
            registry: None,
            now: Instant::now(),
            waiting: VecDeque::new(),
            identification: 0,
        }
    }

    pub(crate) fn stop(&mut self) {
        self.registry = None;
        self.guest = None;
        self.waiting = VecDeque::new();
    }

    /// A number for the fragments of one packet, which is not that of others on their way.
    pub(crate) fn next_identification(&mut self) -> u16 {
        self.identification = self.identification.wrapping_add(1);
        self.identification
    }

    /// Whether the guest takes TCP of the IP version of `address` in one piece, however long.
    pub(crate) fn takes_large(&self, address: IpAddr) -> bool {
        let segmentation = if address.is_ipv4() { Offloads::TSO4 } else { Offloads::TSO6 };
        self.accepted.contains(Offloads::CHECKSUM | segmentation)
    }

    /// Writes the Ethernet header of an IP packet of the version of `address`.
    pub(crate) fn write_ethernet(&self, frame: &mut [u8], address: IpAddr) {
        frame[..6].copy_from_slice(&self.guest.unwrap_or([0xff; 6]));
        frame[6..12].copy_from_slice(&GATEWAY_MAC);
        let kind: [u8; 2] = if address.is_ipv4() { [0x08, 0x00] } else { [0x86, 0xdd] };
        frame[12..ETHERNET].copy_from_slice(&kind);
    }

    /// Puts a frame into the queue for the guest.
    pub(crate) fn push(&mut self, header: FrameHeader, frame: Vec<u8>) {
        if self.waiting.len() < MAX_WAITING {
            self.waiting.push_back((header, frame));
        }
    }

    /// Leaves nothing of `first` and of the frames that wait to the guest: whole packets are in the queue then.
    pub(crate) fn finish(&mut self, first: Option<(FrameHeader, Vec<u8>)>) {
        let frames = first.into_iter().chain(mem::take(&mut self.waiting));
        let mut finished = VecDeque::new();
        for (header, mut frame) in frames {
            offload::packets(header, &mut frame, |packet| {
                finished.push_back((FrameHeader::default(), packet.to_vec()));
            });
        }
        self.waiting = finished;
    }

    /// Moves the first of the queue to `frame`; false if there is none.
    pub(crate) fn pop(&mut self, frame: &mut Frame) -> bool {
        let Some((header, bytes)) = self.waiting.pop_front() else { return false };
        frame.len = bytes.len().min(frame.bytes.len());
        frame.bytes[..frame.len].copy_from_slice(&bytes[..frame.len]);
        frame.header = header;
        true
    }

    /// Sees to the checksum of TCP or UDP in `frame`, whose transport header begins at `transport`: the guest
    /// completes it if it will.
    pub(crate) fn checksum(
        &self,
        ends: Ends,
        protocol: u8,
        transport: usize,
        frame: &mut [u8],
    ) -> FrameHeader {
        let offset: usize = if protocol == UDP { 6 } else { 16 };
        let at = transport + offset;
        frame[at..at + 2].fill(0);
        let len = frame.len() - transport;
        let sum = Sum::pseudo_header(ends.remote.ip(), ends.guest.ip(), protocol, len);
        if !self.accepted.contains(Offloads::CHECKSUM) {
            let complete = sum.add(&frame[transport..]).complete();
            frame[at..at + 2].copy_from_slice(&no_zero(complete, protocol));
            return FrameHeader::default();
        }
        frame[at..at + 2].copy_from_slice(&sum.partial());
        FrameHeader {
            flags: FrameHeader::NEEDS_CHECKSUM,
            checksum_start: u16::try_from(transport).unwrap_or(u16::MAX),
            checksum_offset: u16::try_from(offset).unwrap_or(u16::MAX),
            ..FrameHeader::default()
        }
    }
}

/// For UDP a checksum of zero means that there is none (RFC 768).
fn no_zero(sum: [u8; 2], protocol: u8) -> [u8; 2] {
    if protocol == UDP && sum == [0, 0] { [0xff, 0xff] } else { sum }
}

/// Bytes of the IP header of packets that we make.
pub(crate) fn ip_header_len(address: IpAddr) -> usize {
    if address.is_ipv4() { IPV4 } else { IPV6 }
}

/// Writes the IP header of a packet from `source` to `destination` with `len` bytes of payload.
pub(crate) fn write_ip(packet: &mut [u8], source: IpAddr, destination: IpAddr, protocol: u8, len: usize) {
    write_ip_with(HOP_LIMIT, packet, source, destination, protocol, len);
}

/// The same with another hop limit.
pub(crate) fn write_ip_with(
    hop_limit: u8,
    packet: &mut [u8],
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    len: usize,
) {
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let total = u16::try_from(IPV4 + len).unwrap_or(u16::MAX).to_be_bytes();
            // Don't fragment: nobody between us and the guest would.
            packet[..12]
                .copy_from_slice(&[0x45, 0, total[0], total[1], 0, 0, 0x40, 0, hop_limit, protocol, 0, 0]);
            packet[12..16].copy_from_slice(&source.octets());
            packet[16..IPV4].copy_from_slice(&destination.octets());
            seal_ipv4(packet);
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let len = u16::try_from(len).unwrap_or(u16::MAX).to_be_bytes();
            packet[..8].copy_from_slice(&[0x60, 0, 0, 0, len[0], len[1], protocol, hop_limit]);
            packet[8..24].copy_from_slice(&source.octets());
            packet[24..IPV6].copy_from_slice(&destination.octets());
        }
        _ => {}
    }
}

/// Writes the checksum of an IPv4 header without options.
pub(crate) fn seal_ipv4(packet: &mut [u8]) {
    packet[10..12].fill(0);
    let sum = Sum::default().add(&packet[..IPV4]).complete();
    packet[10..12].copy_from_slice(&sum);
}
