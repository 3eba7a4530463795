//! Clients of this host that reach the guest by forwarded ports.

use std::{
    io::{self, Read, Write},
    net::{TcpListener, TcpStream, UdpSocket},
    thread,
};

use smoltcp::{socket::tcp::State, wire::IpListenEndpoint};

use super::{guest::Guest, tcp::bytes, *};

fn forwarded(protocol: Protocol) -> (Guest, SocketAddr) {
    let forwards = vec![Forward::new(protocol, 0, 80)];
    let guest = Guest::new(UserConfig { forwards, ..UserConfig::default() });
    let forward = guest.network.handle().forwards()[0];
    assert_ne!(forward.host_port, 0);
    (guest, SocketAddr::new(forward.address, forward.host_port))
}

#[test]
fn a_client_reaches_a_service_of_the_guest() {
    let (mut guest, address) = forwarded(Protocol::Tcp);
    guest.announce();
    let socket = guest.add_socket(64 << 10);
    guest.socket(socket).listen(IpListenEndpoint::from(80)).unwrap();
    let client = thread::spawn(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(&bytes(1 << 20)).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        answer
    });
    guest.until_state(socket, State::Established);
    assert_eq!(guest.socket(socket).remote_endpoint().unwrap().addr, addresses::GATEWAY_V4.into());
    assert!(guest.receive_all(socket, usize::MAX) == bytes(1 << 20));
    guest.send_all(socket, &bytes(200_000));
    guest.socket(socket).close();
    guest.until(|_| client.is_finished());
    assert!(client.join().unwrap() == bytes(200_000));
    guest.until(|guest| guest.network.handle().tcp_connections() == 0);
}

#[test]
fn a_port_leads_to_the_guest_after_a_restart_of_its_driver() {
    let (mut guest, address) = forwarded(Protocol::Tcp);
    guest.stop();
    // It waits until a driver is there.
    let mut client = TcpStream::connect(address).unwrap();
    guest.announce();
    guest.start();
    guest.announce();
    let socket = guest.add_socket(4096);
    guest.socket(socket).listen(IpListenEndpoint::from(80)).unwrap();
    guest.until_state(socket, State::Established);
    client.write_all(b"hello").unwrap();
    assert_eq!(guest.receive_all(socket, 5), b"hello");
}

#[test]
fn a_client_is_reset_where_the_guest_refuses_or_is_not_there() {
    let (mut guest, address) = forwarded(Protocol::Tcp);
    for is_there in [false, true] {
        if is_there {
            guest.announce();
        }
        let client = thread::spawn(move || TcpStream::connect(address)?.read(&mut [0; 1]));
        guest.until(|_| client.is_finished());
        assert_eq!(client.join().unwrap().unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    }
    assert_eq!(guest.network.handle().tcp_connections(), 0);
}

#[test]
fn datagrams_go_both_ways() {
    let (mut guest, address) = forwarded(Protocol::Udp);
    guest.announce();
    let clients: Vec<_> = (0..3_u8).map(|_| UdpSocket::bind("127.0.0.1:0").unwrap()).collect();
    for (number, client) in (0..).zip(&clients) {
        client.send_to(&[number; 9], address).unwrap();
    }
    guest.until(|guest| guest.others.iter().filter(|frame| frame[23] == UDP).count() == 3);
    for frame in std::mem::take(&mut guest.others).iter().filter(|frame| frame[23] == UDP) {
        // Answered: ends and ports change sides.
        let mut packet = frame[14..].to_vec();
        let (source, rest) = packet[12..].split_at_mut(4);
        source.swap_with_slice(&mut rest[..4]);
        let (source, rest) = packet[20..].split_at_mut(2);
        source.swap_with_slice(&mut rest[..2]);
        assert_eq!(packet[20..22], [0, 80]);
        packet[28] |= 0x80;
        guest.send_packet(&packet);
    }
    for (number, client) in (0..).zip(&clients) {
        let mut answer = [0; 16];
        let (len, from) = client.recv_from(&mut answer).unwrap();
        assert_eq!((from, len, answer[0], answer[1]), (address, 9, number | 0x80, number));
    }
    assert_eq!(guest.network.udp.len(), 3);
}

#[test]
fn a_port_in_use_is_one_line_with_a_cure() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let forwards = vec![Forward::new(Protocol::Tcp, 0, 1), Forward::new(Protocol::Tcp, port, 80)];
    let error = UserNetwork::new(UserConfig { forwards, ..UserConfig::default() }).err().unwrap();
    assert_eq!(
        error.to_string(),
        format!(
            "cannot forward 127.0.0.1:{port}/tcp to the guest: the port is in use: give another port, or 0 for any \
             that is free"
        )
    );
}

#[test]
fn a_port_twice_and_an_address_of_others_are_refused() {
    let refused =
        |forwards| UserNetwork::new(UserConfig { forwards, ..UserConfig::default() }).err().unwrap();
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let twice = refused(vec![Forward::new(Protocol::Tcp, free, 1), Forward::new(Protocol::Tcp, free, 2)]);
    assert_eq!(
        twice.to_string(),
        format!("127.0.0.1:{free}/tcp is forwarded twice: give one of the two another port")
    );
    let foreign = Forward { address: [192, 0, 2, 1].into(), ..Forward::new(Protocol::Udp, 0, 1) };
    let foreign = refused(vec![foreign]).to_string();
    assert!(foreign.contains("192.0.2.1:0/udp") && foreign.contains("none of this host's"), "{foreign}");
}
