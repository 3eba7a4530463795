//! ICMP errors for the guest: what it sent did not get there.

use std::net::IpAddr;

use hv_core::net::FrameHeader;

use super::{
    link::{Ends, Link, ip_header_len, write_ip},
    packet::{ETHERNET, UDP},
};
use crate::checksum::Sum;

/// Bytes of the header of an ICMP error.
const ICMP: usize = 8;

/// Bytes of the packet behind its IP header that an error brings back: ports and, of TCP, the sequence number.
const QUOTED: usize = 8;

/// Why a packet did not get there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// Nobody there, or no way.
    Host,
    /// Nobody listens.
    Port,
    /// We do not let it through.
    Prohibited,
}

impl Reason {
    /// Type and code (RFC 792, RFC 1812 5.2.7.1; RFC 4443 3.1).
    fn code(self, address: IpAddr) -> [u8; 2] {
        match (self, address.is_ipv4()) {
            (Self::Host, true) => [3, 1],
            (Self::Port, true) => [3, 3],
            (Self::Prohibited, true) => [3, 13],
            (Self::Host, false) => [1, 3],
            (Self::Port, false) => [1, 4],
            (Self::Prohibited, false) => [1, 1],
        }
    }
}

/// Tells the guest that the packet of TCP or UDP that began with `transport` did not get to `ends.remote`.
pub(crate) fn report(link: &mut Link, ends: Ends, protocol: u8, transport: &[u8], reason: Reason) {
    let (guest, remote) = (ends.guest.ip(), ends.remote.ip());
    let ip = ip_header_len(guest);
    let mut quoted = [0; QUOTED];
    let len = transport.len().min(QUOTED);
    quoted[..len].copy_from_slice(&transport[..len]);

    let mut frame = vec![0; ETHERNET + ip + ICMP + ip + QUOTED];
    link.write_ethernet(&mut frame, guest);
    let packet = &mut frame[ETHERNET..];
    let icmp_protocol = if guest.is_ipv4() { 1 } else { 58 };
    write_ip(packet, remote, guest, icmp_protocol, ICMP + ip + QUOTED);
    let icmp = &mut packet[ip..];
    icmp[..2].copy_from_slice(&reason.code(guest));
    write_ip(&mut icmp[ICMP..], guest, remote, protocol, QUOTED);
    icmp[ICMP + ip..].copy_from_slice(&quoted);
    let sum = match guest {
        IpAddr::V4(_) => Sum::default(),
        IpAddr::V6(_) => Sum::pseudo_header(remote, guest, icmp_protocol, icmp.len()),
    };
    let sum = sum.add(icmp).complete();
    icmp[2..4].copy_from_slice(&sum);
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
