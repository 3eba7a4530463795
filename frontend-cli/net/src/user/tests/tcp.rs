//! Connections of the guest to services of this host.

use std::{
    io::{self, Read, Write},
    net::{Ipv6Addr, Shutdown, TcpListener, TcpStream},
    os::fd::AsFd,
    thread::{self, JoinHandle},
    time::Duration,
};

use rustix::net::sockopt;

use super::{guest::Guest, *};
use crate::user::addresses::{GATEWAY_V4, GATEWAY_V6};
use smoltcp::socket::tcp::State;

/// Bytes that repeat nowhere near.
pub(super) fn bytes(len: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let words = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.take(len.div_ceil(8)).flatten().take(len).collect()
}

/// A service for one client.
fn serve<T: Send + 'static>(f: impl FnOnce(TcpStream) -> T + Send + 'static) -> (u16, JoinHandle<T>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    (port, thread::spawn(move || f(listener.accept().unwrap().0)))
}

fn read_all(mut stream: &TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    stream.read_to_end(&mut all).unwrap();
    all
}

#[test]
fn an_echo_comes_back() {
    let mut guest = Guest::new(open_config());
    let (port, service) = serve(|stream| {
        io::copy(&mut &stream, &mut &stream).unwrap();
    });
    let socket = guest.connect(GATEWAY_V4, port);
    guest.until_open(socket);
    for text in ["hello", "x", "again"] {
        guest.send_all(socket, text.as_bytes());
        assert_eq!(guest.receive_all(socket, text.len()), text.as_bytes());
    }
    assert_eq!(guest.network.handle().tcp_connections(), 1);
    guest.socket(socket).close();
    guest.until(|guest| guest.network.handle().tcp_connections() == 0);
    service.join().unwrap();
}

#[test]
fn an_echo_comes_back_over_ipv6() {
    let Ok(listener) = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)) else {
        println!("skipped: this host has no IPv6");
        return;
    };
    let mut guest = Guest::new(open_config());
    let socket = guest.connect(GATEWAY_V6, listener.local_addr().unwrap().port());
    guest.until_open(socket);
    let (mut stream, _) = listener.accept().unwrap();
    let sent = bytes(1 << 20);
    let service = thread::spawn({
        let sent = sent.clone();
        move || stream.write_all(&sent).unwrap()
    });
    assert!(guest.receive_all(socket, usize::MAX) == sent);
    assert!(guest.large_frames > 0);
    service.join().unwrap();
}

fn transfer(accepted: Offloads) {
    let size = 16 << 20;
    let mut guest = Guest::with_offloads(open_config(), accepted);
    let (port, service) = serve(|stream| read_all(&stream));
    let socket = guest.connect(GATEWAY_V4, port);
    guest.until_open(socket);
    let sent = bytes(size);
    guest.send_all(socket, &sent);
    guest.socket(socket).close();
    guest.until(|_| service.is_finished());
    assert!(service.join().unwrap() == sent);

    let (port, service) = serve({
        let sent = sent.clone();
        move |mut stream| stream.write_all(&sent).unwrap()
    });
    let socket = guest.connect(GATEWAY_V4, port);
    guest.until_open(socket);
    assert!(guest.receive_all(socket, usize::MAX) == sent);
    service.join().unwrap();
    // Bytes go in few frames if the guest cuts for itself.
    assert_eq!(guest.large_frames > size / 65_535, !accepted.is_empty());
}

#[test]
fn sixteen_mib_each_way() {
    transfer(Offloads::all());
}

#[test]
fn sixteen_mib_each_way_without_offloads() {
    transfer(Offloads::empty());
}

#[test]
fn the_guest_ends_and_still_hears() {
    let mut guest = Guest::new(open_config());
    let (port, service) = serve(|mut stream| {
        let asked = read_all(&stream);
        stream.write_all(&bytes(300_000)).unwrap();
        asked
    });
    let socket = guest.connect(GATEWAY_V4, port);
    guest.until_open(socket);
    guest.send_all(socket, b"all of it");
    guest.socket(socket).close();
    assert!(guest.receive_all(socket, usize::MAX) == bytes(300_000));
    assert_eq!(service.join().unwrap(), b"all of it");
    guest.until(|guest| guest.network.handle().tcp_connections() == 0);
}

#[test]
fn the_host_ends_and_still_hears() {
    let mut guest = Guest::new(open_config());
    let (port, service) = serve(|mut stream| {
        stream.write_all(b"said").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        read_all(&stream)
    });
    let socket = guest.connect(GATEWAY_V4, port);
    guest.until_open(socket);
    assert_eq!(guest.receive_all(socket, usize::MAX), b"said");
    assert_eq!(guest.state(socket), State::CloseWait);
    let answer = bytes(300_000);
    guest.send_all(socket, &answer);
    guest.socket(socket).close();
    guest.until(|guest| guest.network.handle().tcp_connections() == 0);
    assert!(service.join().unwrap() == answer);
}

#[test]
fn a_reset_of_the_host_reaches_the_guest() {
    let mut guest = Guest::new(open_config());
    let (port, service) =
        serve(|stream| sockopt::set_socket_linger(stream.as_fd(), Some(Duration::ZERO)).unwrap());
    let socket = guest.connect(GATEWAY_V4, port);
    guest.until_state(socket, State::Closed);
    service.join().unwrap();
    guest.until(|guest| guest.network.handle().tcp_connections() == 0);
}

#[test]
fn what_the_host_sent_before_its_reset_arrives() {
    let mut guest = Guest::new(open_config());
    let (port, service) = serve(|mut stream| {
        stream.peek(&mut [0; 1]).unwrap();
        stream.write_all(&bytes(20_000)).unwrap();
        // What was not read makes the end a reset.
    });
    let socket = guest.connect(GATEWAY_V4, port);
    guest.until_open(socket);
    guest.send_all(socket, b"a request that is too long");
    let received = guest.receive_all(socket, 20_000);
    assert!(received == bytes(20_000), "{} bytes", received.len());
    guest.until_state(socket, State::Closed);
    service.join().unwrap();
    guest.until(|guest| guest.network.handle().tcp_connections() == 0);
}

#[test]
fn a_guest_that_never_answers_loses_its_connection() {
    let mut guest = Guest::new(open_config());
    let (port, service) = serve(|mut stream| {
        stream.write_all(b"hello?").unwrap();
        stream.read(&mut [0; 16]).unwrap_err().kind()
    });
    let socket = guest.connect(GATEWAY_V4, port);
    guest.until_open(socket);
    // The bytes leave, and the guest does not hear them.
    while guest.receive().is_none() {
        guest.turn_host();
    }
    let UserNetwork { tcp, link, .. } = &mut guest.network;
    link.now += Duration::from_secs(299);
    tcp.wake(link);
    assert_eq!(tcp.len(), 1);
    link.now += Duration::from_secs(2);
    tcp.wake(link);
    while guest.receive().is_some() {}
    assert_eq!(guest.network.tcp.len(), 0);
    assert_eq!(service.join().unwrap(), io::ErrorKind::ConnectionReset);
}

#[test]
fn a_reset_of_the_guest_reaches_the_host() {
    let mut guest = Guest::new(open_config());
    let (port, service) = serve(|mut stream| stream.read(&mut [0; 16]).unwrap_err().kind());
    let socket = guest.connect(GATEWAY_V4, port);
    guest.until_open(socket);
    guest.socket(socket).abort();
    guest.until(|guest| guest.network.handle().tcp_connections() == 0);
    assert_eq!(service.join().unwrap(), io::ErrorKind::ConnectionReset);
}

#[test]
fn a_driver_that_goes_resets_connections() {
    let mut guest = Guest::new(open_config());
    let (port, service) = serve(|mut stream| stream.read(&mut [0; 16]).unwrap_err().kind());
    let socket = guest.connect(GATEWAY_V4, port);
    guest.until_open(socket);
    guest.stop();
    assert_eq!(service.join().unwrap(), io::ErrorKind::ConnectionReset);
    assert_eq!((guest.network.handle().tcp_connections(), guest.network.deadline()), (0, None));
}

#[test]
fn what_nobody_serves_is_refused() {
    let mut guest = Guest::new(open_config());
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let socket = guest.connect(GATEWAY_V4, port);
    guest.until_state(socket, State::Closed);
    assert_eq!(guest.network.handle().tcp_connections(), 0);
}

#[test]
fn a_host_that_does_not_read_stops_the_guest_and_loses_nothing() {
    let mut guest = Guest::new(open_config());
    let (release, released) = std::sync::mpsc::channel::<()>();
    let (port, service) = serve(move |stream| {
        released.recv().unwrap();
        read_all(&stream)
    });
    let socket = guest.connect(GATEWAY_V4, port);
    guest.until_open(socket);
    let sent = bytes(64 << 20);
    let (mut at, mut still) = (0, 0);
    // Full when nothing moves for many turns, each of which waits.
    while still < 100 {
        let len = guest.socket(socket).send_slice(&sent[at..]).unwrap();
        at += len;
        still = if len == 0 { still + 1 } else { 0 };
        guest.turn();
    }
    assert!(at < sent.len(), "nothing stops it");
    release.send(()).unwrap();
    guest.send_all(socket, &sent[at..]);
    guest.socket(socket).close();
    guest.until(|_| service.is_finished());
    assert!(service.join().unwrap() == sent);
}

#[test]
fn a_guest_that_does_not_read_stops_the_host_and_loses_nothing() {
    let mut guest = Guest::new(open_config());
    let sent = bytes(32 << 20);
    let (port, service) = serve({
        let sent = sent.clone();
        move |mut stream| stream.write_all(&sent).unwrap()
    });
    let socket = guest.connect(GATEWAY_V4, port);
    guest.until_open(socket);
    guest.until(|guest| guest.socket(socket).recv_queue() == guest.socket(socket).recv_capacity());
    for _ in 0..100 {
        guest.turn();
    }
    assert!(!service.is_finished());
    assert!(guest.receive_all(socket, usize::MAX) == sent);
    service.join().unwrap();
}

#[test]
fn connections_beyond_the_limit_are_refused() {
    let mut guest = Guest::new(UserConfig { max_connections: 3, ..open_config() });
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let open: Vec<_> = (0..3).map(|_| guest.connect(GATEWAY_V4, port)).collect();
    for socket in &open {
        guest.until_open(*socket);
    }
    let one_more = guest.connect(GATEWAY_V4, port);
    guest.until_state(one_more, State::Closed);
    guest.socket(open[1]).abort();
    guest.until(|guest| guest.network.handle().tcp_connections() == 2);
    let again = guest.connect(GATEWAY_V4, port);
    guest.until_open(again);
}

#[test]
fn two_thousand_connections_at_random() {
    let mut guest = Guest::new(open_config());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || io::copy(&mut &stream, &mut &stream));
        }
    });
    let mut random = bytes(16_000).into_iter();
    let (mut open, mut made, mut echoed) = (Vec::new(), 0, 0);
    guest.until(|guest| {
        while made < 2000 && open.len() < 100 {
            let handle = guest.add_socket(4096);
            guest.connect_with(handle, GATEWAY_V4, port);
            open.push((handle, random.next().unwrap(), false));
            made += 1;
        }
        open.retain_mut(|(handle, fate, asked)| {
            let socket = guest.socket(*handle);
            if !*asked && socket.can_send() {
                *asked = true;
                socket.send_slice(&[*fate; 100]).unwrap();
                // Some leave at once, some in order, some not at all until the other has answered.
                match *fate % 3 {
                    0 => socket.abort(),
                    1 => socket.close(),
                    _ => {}
                }
            }
            let mut answer = [0; 100];
            if socket.recv_queue() == 100 && socket.recv_slice(&mut answer) == Ok(100) {
                assert_eq!(answer, [*fate; 100]);
                echoed += 1;
                socket.close();
            }
            let is_over = matches!(socket.state(), State::Closed | State::TimeWait) && *asked;
            // A reset is on its way until the socket has no end any more.
            let is_over =
                is_over && (socket.state() == State::TimeWait || socket.remote_endpoint().is_none());
            if is_over {
                guest.sockets.remove(*handle);
            }
            !is_over
        });
        made == 2000 && open.is_empty()
    });
    assert!(echoed > 1000, "{echoed}");
    guest.until(|guest| guest.network.handle().tcp_connections() == 0);
}
