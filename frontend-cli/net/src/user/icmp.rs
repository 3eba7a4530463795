//! ICMP errors for the guest (RFC 792, RFC 4443): what it sent did not get there.

use std::net::IpAddr;

use hv_core::net::FrameHeader;

use super::{
    link::{Ends, Link, ip_header_len, write_ip},
    packet::{ETHERNET, UDP},
};
use crate::checksum::Sum;

/// Bytes before the data in errors and echo messages, of both versions.
pub(crate) const HEADER: usize = 8;

/// ICMP's number as a protocol of IPv4.
const ICMPV4: u8 = 1;

/// ICMPv6's number as a protocol of IPv6.
const ICMPV6: u8 = 58;

/// Bytes of the packet behind its IP header that an error brings back: ports and, of TCP, the sequence number.
const QUOTED: usize = 8;

/// Why a packet did not get there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// Nobody there.
    Host,
    /// Nobody listens.
    Port,
    /// We do not let it through, or the host does not let us.
    Prohibited,
    /// The host has no route.
    NoRoute,
    /// It may not go further than the gateway.
    HopLimit,
}

impl Reason {
    /// Type and code (RFC 792, RFC 1812 5.2.7.1; RFC 4443 3.1, 3.3).
    fn code(self, address: IpAddr) -> [u8; 2] {
        match (self, address.is_ipv4()) {
            (Self::Host, true) => [3, 1],
            (Self::Port, true) => [3, 3],
            (Self::Prohibited, true) => [3, 13],
            (Self::NoRoute, true) => [3, 0],
            (Self::HopLimit, true) => [11, 0],
            (Self::Host, false) => [1, 3],
            (Self::Port, false) => [1, 4],
            (Self::Prohibited, false) => [1, 1],
            (Self::NoRoute, false) => [1, 0],
            (Self::HopLimit, false) => [3, 0],
        }
    }
}

/// An error for `address` about the packet that begins with `quoted`, without its checksum.
pub(crate) fn error(reason: Reason, address: IpAddr, quoted: &[u8]) -> Vec<u8> {
    let mut message = vec![0; HEADER];
    message[..2].copy_from_slice(&reason.code(address));
    message.extend(quoted);
    message
}

/// Completes the checksum of an ICMP message, which is not shorter than its header; says its protocol's number.
pub(crate) fn seal(source: IpAddr, destination: IpAddr, message: &mut [u8]) -> u8 {
    let (protocol, sum) = match destination {
        IpAddr::V4(_) => (ICMPV4, Sum::default()),
        IpAddr::V6(_) => (ICMPV6, Sum::pseudo_header(source, destination, ICMPV6, message.len())),
    };
    message[2..4].fill(0);
    let sum = sum.add(message).complete();
    message[2..4].copy_from_slice(&sum);
    protocol
}

/// Tells the guest that the packet of TCP or UDP that began with `transport` did not get to `ends.remote`.
pub(crate) fn report(link: &mut Link, ends: Ends, protocol: u8, transport: &[u8], reason: Reason) {
    let (guest, remote) = (ends.guest.ip(), ends.remote.ip());
    let ip = ip_header_len(guest);
    let mut quoted = vec![0; ip + QUOTED];
    write_ip(&mut quoted, guest, remote, protocol, QUOTED);
    let len = transport.len().min(QUOTED);
    quoted[ip..ip + len].copy_from_slice(&transport[..len]);
    let mut message = error(reason, guest, &quoted);
    let protocol = seal(remote, guest, &mut message);

    let mut frame = vec![0; ETHERNET + ip];
    link.write_ethernet(&mut frame, guest);
    write_ip(&mut frame[ETHERNET..], remote, guest, protocol, message.len());
    frame.extend(message);
    link.push(FrameHeader::default(), frame);
}

/// [`report`] of a datagram of UDP that is gone.
pub(crate) fn report_udp(link: &mut Link, ends: Ends, reason: Reason) {
    let mut transport = [0; QUOTED];
    transport[..2].copy_from_slice(&ends.guest.port().to_be_bytes());
    transport[2..4].copy_from_slice(&ends.remote.port().to_be_bytes());
    transport[5] = 8;
    report(link, ends, UDP, &transport, reason);
}
