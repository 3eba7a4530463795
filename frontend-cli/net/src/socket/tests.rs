//! Sockets here play passt and gvproxy.

mod programs;

use std::{
    io::{Read, Write},
    os::unix::net::{UnixDatagram, UnixListener, UnixStream},
    time::Duration,
};

use hv_core::net::{FrameHeader, Offloads};

use super::*;
use crate::testing::{Ram, Worker, frame};

fn length(frame: &[u8]) -> [u8; 4] {
    u32::try_from(frame.len()).unwrap().to_be_bytes()
}

fn read_frame(peer: &mut UnixStream) -> Vec<u8> {
    let mut head = [0; 4];
    peer.read_exact(&mut head).unwrap();
    let mut frame = vec![0; usize::try_from(u32::from_be_bytes(head)).unwrap()];
    peer.read_exact(&mut frame).unwrap();
    frame
}

fn numbered(number: u32, len: usize) -> Vec<u8> {
    let mut bytes = frame([2; 6], [4; 6], &number.to_be_bytes());
    bytes.resize(len.max(18), number.to_le_bytes()[0]);
    bytes
}

#[test]
fn frames_pass_a_stream_both_ways() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("passt.socket");
    let listener = UnixListener::bind(&path).unwrap();
    let mut card = Worker::new(stream::Stream::connect(&path).unwrap());
    let (mut peer, _) = listener.accept().unwrap();
    for len in [18, 1514, 2048, 2049, 65_549] {
        let bytes = numbered(7, len);
        assert!(card.send(&bytes).unwrap());
        assert_eq!(read_frame(&mut peer), bytes);
        peer.write_all(&[&length(&bytes)[..], &bytes].concat()).unwrap();
        assert!(card.next() == bytes);
    }
    // Many at once, the last in two pieces.
    let many: Vec<u8> = (0..100)
        .flat_map(|number| {
            let bytes = numbered(number, 100);
            [&length(&bytes)[..], &bytes].concat()
        })
        .collect();
    let (first, last) = many.split_at(many.len() - 7);
    peer.write_all(first).unwrap();
    for number in 0..99 {
        assert_eq!(card.next(), numbered(number, 100));
    }
    assert_eq!(card.receive().unwrap(), None);
    peer.write_all(last).unwrap();
    assert_eq!(card.next(), numbered(99, 100));
    // What is no frame is dropped.
    assert!(card.send(&[1; 13]).unwrap());
    assert!(card.send(&[1; 65_550]).unwrap());
    assert!(card.send(&numbered(1, 60)).unwrap());
    assert_eq!(read_frame(&mut peer), numbered(1, 60));
}

#[test]
fn a_slow_peer_gets_every_frame_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("passt.socket");
    let listener = UnixListener::bind(&path).unwrap();
    let mut card = Worker::new(stream::Stream::connect(&path).unwrap());
    let (mut peer, _) = listener.accept().unwrap();
    let sizes = [60, 65_549, 1514, 9000];
    let size = move |number: u32| sizes[usize::try_from(number).unwrap() % 4];
    let count = 3000;
    // It begins when there was no room once.
    let (begin, begun) = std::sync::mpsc::channel();
    let reader = std::thread::spawn(move || {
        begun.recv().unwrap();
        for number in 0..count {
            assert!(read_frame(&mut peer) == numbered(number, size(number)), "{number}");
        }
        peer
    });
    let (mut number, mut refused) = (0, 0);
    while number < count {
        let bytes = numbered(number, size(number));
        if card.backend.send(FrameHeader::default(), Ram::with(&bytes).buffer()).unwrap() {
            number += 1;
        } else {
            refused += 1;
            begin.send(()).unwrap();
            card.wait();
        }
    }
    card.backend.flush();
    while !reader.is_finished() {
        card.wait_at_most(Duration::from_millis(10));
    }
    reader.join().unwrap();
    assert!(refused > 0, "nothing was slow");
}

#[test]
fn a_peer_that_goes_is_a_link_that_is_down_until_it_is_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("passt.socket");
    let listener = UnixListener::bind(&path).unwrap();
    let mut card = Worker::new(stream::Stream::connect(&path).unwrap());
    assert!(card.backend.is_up());
    drop(listener.accept().unwrap());
    card.wait();
    assert!(!card.backend.is_up());
    assert!(card.send(&numbered(1, 60)).is_err());
    assert_eq!(card.receive().unwrap(), None);
    // Nobody takes it yet, but the host holds it.
    assert!(card.backend.deadline().is_some());
    card.wait();
    assert!(card.backend.is_up());
    let (mut peer, _) = listener.accept().unwrap();
    assert!(card.send(&numbered(2, 60)).unwrap());
    assert_eq!(read_frame(&mut peer), numbered(2, 60));

    // Nonsense is an end too, in the middle of whatever.
    peer.write_all(&[&length(&[0; 60])[..], &numbered(3, 60), &[0xff; 4]].concat()).unwrap();
    assert_eq!(card.next(), numbered(3, 60));
    assert_eq!(card.receive().unwrap(), None);
    assert!(!card.backend.is_up());
    assert_eq!(peer.read(&mut [0]).unwrap(), 0);
    drop(listener);
    card.wait();
    assert!(!card.backend.is_up());
    // A driver that comes and goes meanwhile changes nothing.
    let registry = card.poll.registry().try_clone().unwrap();
    card.backend.stop(&registry);
    assert_eq!(card.backend.deadline(), None);
    card.backend.start(Offloads::empty(), &registry).unwrap();
    assert!(card.backend.deadline().is_some());
}

#[test]
fn frames_pass_datagrams_both_ways() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gvproxy.socket");
    let peer = UnixDatagram::bind(&path).unwrap();
    let mut card = Worker::new(datagram::Datagram::connect(&path, &std::env::temp_dir()).unwrap());
    let mut bytes = vec![0; 70_000];
    let (len, from) = peer.recv_from(&mut bytes).unwrap();
    assert_eq!(&bytes[..len], b"VFKT");
    let own = from.as_pathname().unwrap().to_owned();
    for len in [18, 1514, 65_549] {
        let sent = numbered(1, len);
        assert!(card.send(&sent).unwrap());
        let len = peer.recv(&mut bytes).unwrap();
        assert!(bytes[..len] == sent);
        peer.send_to(&sent, &own).unwrap();
        assert!(card.next() == sent);
    }
    // What is no frame is passed over.
    for nonsense in [&[][..], &[1; 13], &[1; 65_550]] {
        peer.send_to(nonsense, &own).unwrap();
    }
    peer.send_to(&numbered(2, 60), &own).unwrap();
    assert_eq!(card.next(), numbered(2, 60));
    assert!(card.send(&[1; 13]).unwrap());

    // A full peer is waited for, and nothing is lost.
    let (mut sent, mut refused) = (1, 0);
    while refused < 3 {
        if card.send(&numbered(sent, 60)).unwrap() {
            sent += 1;
        } else {
            refused += 1;
        }
    }
    let len = peer.recv(&mut bytes).unwrap();
    assert_eq!(&bytes[..len], numbered(1, 60));
    card.wait();
    assert!(card.send(&numbered(sent, 60)).unwrap());
    for number in 2..=sent {
        let len = peer.recv(&mut bytes).unwrap();
        assert_eq!(&bytes[..len], numbered(number, 60));
    }

    let private = own.parent().unwrap().to_owned();
    assert!(private.exists());
    drop(card);
    assert!(!private.exists());
}

#[test]
fn a_datagram_peer_that_goes_is_greeted_when_it_is_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gvproxy.socket");
    let peer = UnixDatagram::bind(&path).unwrap();
    let mut card = Worker::new(datagram::Datagram::connect(&path, &std::env::temp_dir()).unwrap());
    drop(peer);
    assert!(card.send(&numbered(1, 60)).is_err());
    assert!(!card.backend.is_up());
    card.wait();
    assert!(!card.backend.is_up());
    fs::remove_file(&path).unwrap();
    let peer = UnixDatagram::bind(&path).unwrap();
    card.wait();
    assert!(card.backend.is_up());
    let mut bytes = [0; 100];
    assert_eq!(peer.recv(&mut bytes).unwrap(), 4);
    assert!(card.send(&numbered(2, 60)).unwrap());
    let (len, from) = peer.recv_from(&mut bytes).unwrap();
    assert_eq!(&bytes[..len], numbered(2, 60));
    peer.send_to(&numbered(3, 60), from.as_pathname().unwrap()).unwrap();
    assert_eq!(card.next(), numbered(3, 60));
}

#[test]
fn the_kind_of_socket_decides_and_what_is_none_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let refusal = |path: &Path| {
        let error = connect(path, &std::env::temp_dir()).err().unwrap();
        assert!(error.to_string().contains(&path.display().to_string()), "{error}");
        error
    };
    let listener = UnixListener::bind(at("stream")).unwrap();
    connect(&at("stream"), folder.path()).unwrap();
    listener.accept().unwrap();
    let datagram = UnixDatagram::bind(at("datagram")).unwrap();
    connect(&at("datagram"), folder.path()).unwrap();
    assert_eq!(datagram.recv(&mut [0; 9]).unwrap(), 4);

    assert!(matches!(refusal(&at("nothing")), NetError::NoSuchSocket { .. }));
    fs::write(at("file"), "").unwrap();
    assert!(matches!(refusal(&at("file")), NetError::NotASocket { .. }));
    drop((listener, datagram));
    assert!(matches!(refusal(&at("stream")), NetError::NobodyListens { .. }));
    assert!(matches!(refusal(&at("datagram")), NetError::NobodyListens { .. }));
    assert!(matches!(refusal(&at(&"x".repeat(120))), NetError::LongPath { .. }));
}
