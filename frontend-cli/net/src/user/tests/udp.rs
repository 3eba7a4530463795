//! Datagrams between the guest and services of this host.

use std::net::{Ipv4Addr, UdpSocket};

use super::{guest::Guest, tcp::bytes, *};
use crate::checksum::Sum;
use crate::user::{
    addresses::{GATEWAY_V4, GUEST_V4},
    link::write_ip,
    packet::{ETHERNET, IPV4},
};

/// A packet with a datagram, its checksum complete.
pub(super) fn datagram(
    from: Ipv4Addr,
    to: Ipv4Addr,
    source: u16,
    destination: u16,
    payload: &[u8],
) -> Vec<u8> {
    let len = 8 + payload.len();
    let mut packet = vec![0; IPV4];
    write_ip(&mut packet, from.into(), to.into(), UDP, len);
    packet.extend(source.to_be_bytes());
    packet.extend(destination.to_be_bytes());
    packet.extend(u16::try_from(len).unwrap().to_be_bytes());
    packet.extend([0, 0]);
    packet.extend(payload);
    let sum = Sum::pseudo_header(from.into(), to.into(), UDP, len).add(&packet[IPV4..]).complete();
    packet[IPV4 + 6..IPV4 + 8].copy_from_slice(&sum);
    packet
}

fn is_udp(frame: &[u8]) -> bool {
    frame[12..14] == [8, 0] && frame[23] == UDP
}

#[test]
fn a_datagram_is_answered() {
    for accepted in [Offloads::all(), Offloads::empty()] {
        let mut guest = Guest::with_offloads(open_config(), accepted);
        let service = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = service.local_addr().unwrap().port();
        guest.send_packet(&datagram(GUEST_V4, GATEWAY_V4, 4000, port, b"hello"));
        let mut asked = [0; 16];
        let (len, client) = service.recv_from(&mut asked).unwrap();
        assert_eq!(&asked[..len], b"hello");
        service.send_to(b"hi", client).unwrap();
        guest.until(|guest| guest.others.iter().any(|frame| is_udp(frame)));
        let frame = &guest.others[0];
        assert_eq!(frame[26..34], [10, 0, 2, 2, 10, 0, 2, 15]);
        assert_eq!((&frame[34..36], &frame[36..38]), (&port.to_be_bytes()[..], &4000_u16.to_be_bytes()[..]));
        assert_eq!(&frame[42..], b"hi");
    }
}

#[test]
fn what_waits_is_finished_when_the_guest_takes_no_offloads_any_more() {
    let mut guest = Guest::new(open_config());
    let service = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = service.local_addr().unwrap().port();
    guest.send_packet(&datagram(GUEST_V4, GATEWAY_V4, 4000, port, b"hello"));
    let (_, client) = service.recv_from(&mut [0; 16]).unwrap();
    for answer in [b"one", b"two"] {
        service.send_to(answer, client).unwrap();
    }
    // The first is ready, though not fetched.
    while guest.network.next_len().is_none() {
        guest.turn_host();
    }
    guest.accept(Offloads::empty());
    // Each is looked at: its checksum is complete.
    guest.until(|guest| guest.others.iter().filter(|frame| is_udp(frame)).count() == 2);
    let payloads: Vec<_> = guest.others.iter().map(|frame| &frame[42..]).collect();
    assert_eq!(payloads, [b"one", b"two"]);
}

#[test]
fn a_wrong_checksum_is_dropped() {
    let mut guest = Guest::with_offloads(open_config(), Offloads::empty());
    let service = UdpSocket::bind("127.0.0.1:0").unwrap();
    service.set_nonblocking(true).unwrap();
    let port = service.local_addr().unwrap().port();
    let mut packet = datagram(GUEST_V4, GATEWAY_V4, 4000, port, b"hello");
    packet[30] ^= 1;
    guest.send_packet(&packet);
    guest.turn();
    assert!(service.recv(&mut [0; 16]).is_err());
}

#[test]
fn the_longest_datagram_comes_in_fragments() {
    let mut guest = Guest::new(open_config());
    let service = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = service.local_addr().unwrap().port();
    let sent = bytes(65_507);
    // As it is when it was put together again.
    guest.send_packet(&datagram(GUEST_V4, GATEWAY_V4, 4000, port, &sent));
    let mut asked = vec![0; 65_536];
    let (len, client) = service.recv_from(&mut asked).unwrap();
    assert!(asked[..len] == sent);
    service.send_to(&sent, client).unwrap();
    let whole = 65_507 + 8;
    let offset = |frame: &[u8]| usize::from(u16::from_be_bytes([frame[20], frame[21]]) & 0x1fff) * 8;
    guest.until(|guest| {
        guest.others.iter().map(|frame| frame.len() - ETHERNET - IPV4).sum::<usize>() >= whole
    });
    let mut answer = vec![0; whole];
    for frame in &guest.others {
        let part = &frame[ETHERNET + IPV4..];
        answer[offset(frame)..][..part.len()].copy_from_slice(part);
        assert_eq!(frame[20] & 0x20 != 0, offset(frame) + part.len() < whole);
        assert_eq!(frame[18..20], guest.others[0][18..20], "one identification");
    }
    assert!(answer[8..] == sent);
    let (gateway, own) = (GATEWAY_V4.into(), GUEST_V4.into());
    assert!(Sum::pseudo_header(gateway, own, UDP, whole).add(&answer).is_right());
}

#[test]
fn a_port_that_nobody_serves_is_told() {
    let mut guest = Guest::new(open_config());
    let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    guest.send_packet(&datagram(GUEST_V4, GATEWAY_V4, 4000, port, b"hello"));
    guest.until(|guest| !guest.others.is_empty());
    let frame = &guest.others[0];
    // ICMP, port unreachable, with the datagram's header and ports.
    assert_eq!((frame[23], &frame[34..36]), (1, &[3, 3][..]));
    assert!(Sum::default().add(&frame[34..]).is_right());
    assert_eq!(frame[42 + 9], UDP);
    assert_eq!(frame[42 + 12..42 + 20], [10, 0, 2, 15, 10, 0, 2, 2]);
    assert_eq!((&frame[62..64], &frame[64..66]), (&4000_u16.to_be_bytes()[..], &port.to_be_bytes()[..]));
}

#[test]
fn exchanges_are_bounded_and_the_oldest_goes() {
    let mut guest = Guest::new(open_config());
    let service = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = service.local_addr().unwrap().port();
    for source in 1..=600 {
        guest.send_packet(&datagram(GUEST_V4, GATEWAY_V4, source, port, b"hello"));
    }
    assert_eq!(guest.network.udp.len(), 512);
    assert!(guest.network.deadline().is_some());
}
