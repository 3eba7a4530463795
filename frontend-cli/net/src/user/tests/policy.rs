//! What the guest may not reach.

use std::net::{IpAddr, Ipv4Addr, TcpListener, UdpSocket};

use smoltcp::socket::tcp::State;

use super::{guest::Guest, udp::datagram, *};
use crate::user::addresses::{GATEWAY_V4, GATEWAY_V6, GUEST_V4};

#[test]
fn services_of_this_host_are_out_of_reach() {
    let listener = TcpListener::bind("0.0.0.0:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut guest = Guest::new(UserConfig::default());
    let mut addresses: Vec<IpAddr> = vec![GATEWAY_V4.into(), GATEWAY_V6.into()];
    if let Ok(own) = UdpSocket::bind("0.0.0.0:0")
        && own.connect("192.0.2.1:9").is_ok()
    {
        addresses.push(own.local_addr().unwrap().ip());
    }
    for address in addresses {
        let socket = guest.connect(address, port);
        guest.until_state(socket, State::Closed);
        assert!(listener.accept().is_err(), "{address} leads to this host");
    }
    // No machine sends this, and nobody answers it.
    guest.connect(Ipv4Addr::new(127, 0, 0, 2), port);
    guest.turn();
    assert!(listener.accept().is_err(), "loopback leads to this host");
    assert_eq!(guest.network.tcp.len(), 0);
}

#[test]
fn datagrams_to_this_host_are_out_of_reach() {
    let service = UdpSocket::bind("0.0.0.0:0").unwrap();
    service.set_nonblocking(true).unwrap();
    let port = service.local_addr().unwrap().port();
    let mut guest = Guest::new(UserConfig::default());
    for address in [GATEWAY_V4, Ipv4Addr::LOCALHOST, Ipv4Addr::BROADCAST, Ipv4Addr::new(169, 254, 1, 1)] {
        guest.send_packet(&datagram(GUEST_V4, address, 4000, port, b"hello"));
        guest.turn();
        assert!(service.recv(&mut [0; 16]).is_err(), "{address} leads to this host");
    }
    // Of what it may send at all the guest hears: administratively prohibited.
    assert!(guest.others.iter().all(|frame| frame[34..36] == [3, 13]));
    assert_eq!((guest.others.len(), guest.network.udp.len()), (2, 0));
}

#[test]
fn foreign_sources_and_foreign_macs_are_dropped() {
    let service = UdpSocket::bind("127.0.0.1:0").unwrap();
    service.set_nonblocking(true).unwrap();
    let port = service.local_addr().unwrap().port();
    let mut guest = Guest::new(open_config());
    for source in
        [[10, 0, 2, 2], [10, 0, 2, 3], [10, 0, 2, 255], [10, 0, 3, 15], [127, 0, 0, 1], [0, 0, 0, 0]]
    {
        guest.send_packet(&datagram(source.into(), GATEWAY_V4, 4000, port, b"hello"));
    }
    let packet = datagram(GUEST_V4, GATEWAY_V4, 4000, port, b"hello");
    let mut frame = vec![2; 12];
    frame.extend([8, 0]);
    frame.extend(&packet);
    guest.send(FrameHeader::default(), &frame);
    guest.turn();
    assert!(service.recv(&mut [0; 16]).is_err());
    assert_eq!(guest.network.udp.len(), 0);
    guest.send_packet(&packet);
    guest.turn();
    assert_eq!(service.recv(&mut [0; 16]).unwrap(), 5, "the right one arrives");
}
