//! A guest that keeps to no rule of TCP.

use std::{
    io::{self, Read, Write},
    net::{TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

use super::{guest::Guest, tcp::bytes, *};
use crate::user::{
    addresses::{GATEWAY_V4, GUEST_V4},
    link::write_ip,
    packet::{ETHERNET, IPV4},
    tcp::Segment,
};

const SYN: u8 = 2;
const ACK: u8 = 16;

/// Bytes of the first connection's ring.
const RING: usize = 512 << 10;

fn segment(port: u16, sequence: u32, acknowledged: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
    let options: &[u8] = if flags & SYN != 0 { &[2, 4, 5, 0xb4, 3, 3, 7, 0] } else { &[] };
    let header_len = 20 + options.len();
    let mut packet = vec![0; IPV4];
    write_ip(&mut packet, GUEST_V4.into(), GATEWAY_V4.into(), TCP, header_len + payload.len());
    packet.extend([0x12, 0x34]);
    packet.extend(port.to_be_bytes());
    packet.extend(sequence.to_be_bytes());
    packet.extend(acknowledged.to_be_bytes());
    packet.extend([u8::try_from(header_len / 4).unwrap() << 4, flags, 0xff, 0xff, 0, 0, 0, 0]);
    packet.extend(options);
    packet.extend(payload);
    packet
}

/// A connection by hand: the next acknowledgement number.
fn open(guest: &mut Guest, port: u16) -> u32 {
    guest.send_packet(&segment(port, 999, 0, SYN, &[]));
    let answer = loop {
        guest.network.flush();
        match guest.receive() {
            Some(answer) => break answer,
            None => guest.turn_host(),
        }
    };
    let header = Segment::parse(&answer[ETHERNET + IPV4..]).unwrap();
    assert!(header.has(SYN) && header.has(ACK));
    // The segments that the gateway takes are of the link's size.
    assert_eq!(answer[54..58], [2, 4, 0x05, 0xb4]);
    header.sequence.wrapping_add(1)
}

/// A guest with a connection by hand, to which the host has written `bytes`: with the host's port, the next acknowledgement number, and
/// the host's end.
fn written_to(bytes: &[u8]) -> (Guest, u16, u32, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut guest = Guest::new(open_config());
    let acknowledged = open(&mut guest, port);
    guest.send_packet(&segment(port, 1000, acknowledged, ACK, &[]));
    let (mut stream, _) = listener.accept().unwrap();
    stream.write_all(bytes).unwrap();
    (guest, port, acknowledged, stream)
}

/// The bytes of the next segment that has some.
fn data(guest: &mut Guest) -> Vec<u8> {
    loop {
        guest.network.flush();
        match guest.receive() {
            Some(frame) if frame.len() > ETHERNET + IPV4 + 20 => {
                return frame[ETHERNET + IPV4 + 20..].to_vec();
            }
            Some(_) => {}
            None => guest.turn_host(),
        }
    }
}

#[test]
fn more_than_the_window_is_cut_off() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut guest = Guest::new(open_config());
    let acknowledged = open(&mut guest, port);
    let (mut stream, _) = listener.accept().unwrap();
    let sent = bytes(1_000_000);
    // Before anything is acknowledged, in segments from the far end of what smoltcp thinks the window is: none is
    // written at once, and the ring would overflow.
    let at = |start: usize| 1000_u32.wrapping_add(u32::try_from(start).unwrap());
    for start in (1000..sent.len()).step_by(60_000).rev() {
        let part = &sent[start..sent.len().min(start + 60_000)];
        guest.send_packet(&segment(port, at(start), acknowledged, ACK, part));
    }
    guest.send_packet(&segment(port, 1000, acknowledged, ACK, &sent[..1000]));
    guest.network.flush();
    // What the ring has room for arrives, and not a byte more.
    let reader = thread::spawn(move || {
        let mut read = vec![0; RING];
        stream.read_exact(&mut read).unwrap();
        stream.set_nonblocking(true).unwrap();
        (read, stream.read(&mut [0; 1]).unwrap_err().kind())
    });
    while !reader.is_finished() {
        guest.turn_host();
    }
    let (read, then) = reader.join().unwrap();
    assert!(read == sent[..RING]);
    assert_eq!(then, io::ErrorKind::WouldBlock);
}

/// Linux does this when it is short of memory: it takes back a window that it gave.
#[test]
fn what_a_shut_window_threw_away_is_sent_again() {
    let sent = bytes(8000);
    let (mut guest, port, acknowledged, _stream) = written_to(&sent);
    let mut arrived = Vec::new();
    while arrived.len() < sent.len() {
        arrived.extend(data(&mut guest));
    }
    assert!(arrived == sent);
    // It kept the first thousand bytes, and shuts the window; then it has room for two thousand.
    let kept = acknowledged.wrapping_add(1000);
    let mut shut = segment(port, 1000, kept, ACK, &[]);
    shut[IPV4 + 14..IPV4 + 16].copy_from_slice(&[0, 0]);
    guest.send_packet(&shut);
    let mut opened = segment(port, 1000, kept, ACK, &[]);
    opened[IPV4 + 14..IPV4 + 16].copy_from_slice(&16_u16.to_be_bytes());
    guest.send_packet(&opened);
    let again = data(&mut guest);
    assert!(!again.is_empty() && again == sent[1000..1000 + again.len()], "{} other bytes came", again.len());
    // Linux refuses a segment as a whole that does not end in the window.
    assert!(again.len() <= 16 << 7, "{} bytes do not fit the window", again.len());
}

#[test]
fn what_nobody_acknowledges_is_sent_again_soon() {
    let sent = bytes(3000);
    let (mut guest, port, acknowledged, _stream) = written_to(&sent);
    for most in [100, 200, 400] {
        assert!(data(&mut guest) == sent);
        let wait = guest.network.deadline().unwrap().saturating_duration_since(Instant::now());
        assert!(wait <= Duration::from_millis(most), "the next look is in {wait:?}");
    }
    let all = acknowledged.wrapping_add(3000);
    guest.send_packet(&segment(port, 1000, all, ACK, &[]));
    guest.turn_host();
    assert_eq!(guest.receive(), None);
}

#[test]
fn bytes_in_any_order_arrive_in_theirs() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut guest = Guest::new(open_config());
    let acknowledged = open(&mut guest, port);
    let (mut stream, _) = listener.accept().unwrap();
    for (sequence, part) in [(1005, "fghij"), (1003, "defg"), (1000, "abcde"), (1000, "XX")] {
        guest.send_packet(&segment(port, sequence, acknowledged, ACK, part.as_bytes()));
    }
    guest.network.flush();
    let mut read = [0; 10];
    stream.read_exact(&mut read).unwrap();
    assert_eq!(&read, b"abcdefghij");
}

#[test]
fn segments_of_no_connection_are_reset() {
    let mut guest = Guest::new(open_config());
    for flags in [ACK, SYN | ACK, 1, 0, 8] {
        guest.send_packet(&segment(9, 5, 77, flags, b"x"));
        let frame = guest.receive().unwrap();
        assert!(Segment::parse(&frame[ETHERNET + IPV4..]).unwrap().has(4));
    }
    // But for a reset there is no reset, nor for what is no segment.
    for flags in [4, 0xff] {
        guest.send_packet(&segment(9, 5, 77, flags, b"x"));
        assert_eq!(guest.receive(), None);
    }
}
