//! Whole socket devices through a driver, on each transport.

mod guest;
mod hostile;
mod processes;
mod streams;

use std::{
    io::{Read, Write},
    net::Shutdown,
    sync::mpsc,
};

use vm_memory::{Bytes, GuestAddress};

use self::guest::{CID, Guest};
use super::{
    packet::{CLOSED, HOST_CID, Operation, RECEIVES_NO_MORE, SENDS_NO_MORE},
    *,
};
use crate::{testing::TransportKind, virtio::negotiation::Status};

/// Listens on a port of the host; what the guest connects comes out of the channel.
fn listen(handle: &VsockHandle, port: u32) -> mpsc::Receiver<UnixStream> {
    let (sender, receiver) = mpsc::channel();
    handle.listen(port, Box::new(move |stream| sender.send(stream).expect("the test listens")));
    receiver
}

/// Reads `len` bytes.
fn read(mut stream: &UnixStream, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    stream.read_exact(&mut bytes).unwrap();
    bytes
}

/// Reads to the end.
fn read_all(mut stream: &UnixStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    bytes
}

/// Bytes that tell when one is lost or out of place.
fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| u8::try_from((at ^ at >> 8 ^ at >> 16) & 0xff).unwrap()).collect()
}

#[test]
fn the_device_says_what_it_is() {
    Guest::on_each(|guest| {
        assert_eq!(guest.rig.driver.registers().device_type(), 19);
        assert_eq!(guest.rig.driver.registers().device_features() & 0xff_ffff, 1, "STREAM alone");
        let mut config = [0xff; 12];
        guest.rig.driver.registers().read_config(0, &mut config);
        assert_eq!(config, [3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        let sizes = [0, 1, 2, 3].map(|queue| guest.rig.driver.registers().queue_max_size(queue));
        assert_eq!(sizes, [128, 128, 16, 0]);
    });
}

#[test]
fn the_guest_connects_to_a_port_that_listens() {
    Guest::on_each(|guest| {
        let listener = listen(&guest.handle, 1024);
        guest.start();
        let mut socket = guest.connect(50_000, 1024).expect("accepted");
        let mut stream = listener.recv().unwrap();
        stream.write_all(b"from the host").unwrap();
        assert_eq!(guest.read(&mut socket, 13), b"from the host");
        guest.write(&mut socket, b"from the guest");
        assert_eq!(read(&stream, 14), b"from the guest");

        let mut other = guest.connect(50_001, 1024).expect("accepted");
        let other_stream = listener.recv().unwrap();
        guest.write(&mut other, b"apart");
        guest.write(&mut socket, b"alone");
        assert_eq!(read(&other_stream, 5), b"apart");
        assert_eq!(read(&stream, 5), b"alone");

        guest.shut_down(&socket, CLOSED);
        assert_eq!(guest.expect(socket.ports, Operation::Reset).len, 0);
        assert_eq!(read_all(&stream), b"");
        guest.write(&mut other, b"!");
        assert_eq!(read(&other_stream, 1), b"!");
    });
}

#[test]
fn the_host_connects_to_a_port_of_the_guest() {
    Guest::on_each(|guest| {
        guest.start();
        let mut stream = guest.handle.connect(1024).unwrap();
        stream.write_all(b"before it is accepted").unwrap();
        let mut socket = guest.accept(1024);
        assert_eq!(guest.read(&mut socket, 21), b"before it is accepted");
        guest.write(&mut socket, b"answer");
        assert_eq!(read(&stream, 6), b"answer");
        let again = guest.handle.connect(1024).unwrap();
        let second = guest.accept(1024);
        assert_ne!(second.ports, socket.ports);
        drop(again);
        assert_eq!(guest.expect(second.ports, Operation::Shutdown).flags & SENDS_NO_MORE, SENDS_NO_MORE);
    });
}

#[test]
fn a_connection_waits_for_the_driver() {
    Guest::on_each(|guest| {
        let mut stream = guest.handle.connect(7).unwrap();
        stream.write_all(b"early").unwrap();
        guest.start();
        let mut socket = guest.accept(7);
        assert_eq!(guest.read(&mut socket, 5), b"early");
    });
}

#[test]
fn only_so_many_connections_wait_for_a_driver() {
    let (_device, handle) = Vsock::new("vsock0", CID);
    let waiting: Vec<_> = (0..MAX_WAITING).map(|_| handle.connect(1).unwrap()).collect();
    assert_eq!(handle.connect(1).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    drop(waiting);
}

#[test]
fn who_is_refused_sees_it() {
    Guest::on_each(|guest| {
        guest.start();
        assert!(guest.connect(50_000, 1).is_none(), "nobody listens");
        guest.handle.listen(2, Box::new(drop));
        let socket = guest.connect(50_000, 2).expect("accepted and then dropped");
        assert_eq!(guest.expect(socket.ports, Operation::Shutdown).flags & SENDS_NO_MORE, SENDS_NO_MORE);

        let stream = guest.handle.connect(3).unwrap();
        let request = guest.wait(|header, _| header.op == Operation::Request as u16).0;
        guest.send(&request.refusal(), b"");
        assert_eq!(read_all(&stream), b"");
    });
}

#[test]
fn a_callback_may_use_the_handle() {
    Guest::on_each(|guest| {
        let (sender, receiver) = mpsc::channel();
        let handle = guest.handle.clone();
        guest.handle.listen(
            1024,
            Box::new(move |stream| {
                handle.listen(1024, Box::new(drop));
                sender.send((stream, handle.connect(9).unwrap())).unwrap();
            }),
        );
        guest.start();
        let mut socket = guest.connect(50_000, 1024).unwrap();
        let (stream, mut back) = receiver.recv().unwrap();
        let mut second = guest.accept(9);
        back.write_all(b"back").unwrap();
        assert_eq!(guest.read(&mut second, 4), b"back");
        guest.write(&mut socket, b"x");
        assert_eq!(read(&stream, 1), b"x");
    });
}

#[test]
fn a_reset_ends_connections_and_keeps_what_listens() {
    Guest::on_each(|guest| {
        let listener = listen(&guest.handle, 1024);
        guest.start();
        for machine in [false, true] {
            let _socket = guest.connect(50_000, 1024).unwrap();
            let stream = listener.recv().unwrap();
            let by_host = guest.handle.connect(5).unwrap();
            guest.accept(5);
            if machine {
                guest.rig.device.pause();
                guest.rig.device.reset();
                guest.rig.device.resume();
                guest.rig.reconnect();
            } else {
                guest.rig.driver.reset();
            }
            assert_eq!(read_all(&stream), b"");
            assert_eq!(read_all(&by_host), b"");
            let waits = guest.handle.connect(6).unwrap();
            guest.start();
            let mut socket = guest.accept(6);
            guest.write(&mut socket, b"on");
            assert_eq!(read(&waits, 2), b"on");
        }
    });
}

#[test]
fn a_pause_changes_nothing() {
    Guest::on_each(|guest| {
        let listener = listen(&guest.handle, 1024);
        guest.start();
        let mut socket = guest.connect(50_000, 1024).unwrap();
        let mut stream = listener.recv().unwrap();
        guest.rig.device.pause();
        stream.write_all(b"meanwhile").unwrap();
        let by_host = guest.handle.connect(5).unwrap();
        guest.rig.device.resume();
        assert_eq!(guest.read(&mut socket, 9), b"meanwhile");
        let mut other = guest.accept(5);
        guest.write(&mut other, b"!");
        assert_eq!(read(&by_host, 1), b"!");
    });
}

#[test]
fn an_interruption_ends_connections_and_is_an_event() {
    Guest::on_each(|guest| {
        let listener = listen(&guest.handle, 1024);
        guest.start();
        let mut socket = guest.connect(50_000, 1024).unwrap();
        let stream = listener.recv().unwrap();
        guest.handle.interrupt();
        assert_eq!(read_all(&stream), b"");
        let buffer = guest.rig.driver.writable(8);
        guest.rig.ram.write_slice(&[0xff; 8], GuestAddress(buffer.address)).unwrap();
        assert_eq!(guest.rig.driver.request(2, &[buffer]), 4);
        assert_eq!(guest.rig.driver.bytes(buffer), [0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]);
        guest.send_data(&mut socket, b"of before");
        guest.expect(socket.ports, Operation::Reset);
        guest.connect(50_000, 1024).expect("accepted anew");
    });
}

#[test]
fn there_are_so_many_connections_and_no_more() {
    for kind in TransportKind::ALL {
        let (mut device, handle) = Vsock::new("vsock0", CID);
        device.most = 4;
        let guest = &mut Guest::of(kind, device, handle);
        let listener = listen(&guest.handle, 1024);
        guest.start();
        let sockets: Vec<_> = (0..4).map(|port| guest.connect(port, 1024).unwrap()).collect();
        let mut streams: Vec<_> = (0..4).map(|_| listener.recv().unwrap()).collect();
        assert!(guest.connect(4, 1024).is_none(), "one too many");
        assert!(listener.try_recv().is_err());
        let too_many = guest.handle.connect(1).unwrap();
        assert_eq!(read_all(&too_many), b"");
        // A client of the host that goes is a place once the guest has let go of it too.
        drop(streams.pop());
        guest.expect(sockets[3].ports, Operation::Shutdown);
        guest.reset(&sockets[3]);
        guest.connect(5, 1024).expect("there is room again");
    }
}

#[test]
fn half_a_connection_ends_alone() {
    Guest::on_each(|guest| {
        let listener = listen(&guest.handle, 1024);
        guest.start();
        // The guest sends no more, and receives.
        let mut socket = guest.connect(50_000, 1024).unwrap();
        let mut stream = listener.recv().unwrap();
        guest.write(&mut socket, b"last words");
        guest.shut_down(&socket, SENDS_NO_MORE);
        assert_eq!(read_all(&stream), b"last words");
        stream.write_all(b"reply").unwrap();
        assert_eq!(guest.read(&mut socket, 5), b"reply");
        // The host closes.
        drop(stream);
        let mut flags = 0;
        while flags != CLOSED {
            flags |= guest.expect(socket.ports, Operation::Shutdown).flags;
        }
        guest.reset(&socket);

        // The host sends no more, and receives.
        let mut socket = guest.connect(50_001, 1024).unwrap();
        let mut stream = listener.recv().unwrap();
        stream.write_all(b"request").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!(guest.read(&mut socket, 7), b"request");
        assert_eq!(guest.expect(socket.ports, Operation::Shutdown).flags, SENDS_NO_MORE);
        guest.write(&mut socket, b"answer");
        assert_eq!(read(&stream, 6), b"answer");
        // Hints add up (5.10.6.5).
        guest.shut_down(&socket, RECEIVES_NO_MORE);
        guest.shut_down(&socket, SENDS_NO_MORE);
        guest.expect(socket.ports, Operation::Reset);
        assert_eq!(read_all(&stream), b"");

        // The guest receives no more: the host cannot write.
        let mut socket = guest.connect(50_002, 1024).unwrap();
        let mut stream = listener.recv().unwrap();
        guest.shut_down(&socket, RECEIVES_NO_MORE);
        guest.write(&mut socket, b"still");
        assert_eq!(read(&stream, 5), b"still");
        assert_eq!(stream.write(b"x").unwrap_err().kind(), io::ErrorKind::BrokenPipe);

        // The host receives no more: the guest is told when it sends.
        let mut socket = guest.connect(50_003, 1024).unwrap();
        let mut stream = listener.recv().unwrap();
        stream.shutdown(Shutdown::Read).unwrap();
        guest.write(&mut socket, b"in vain");
        assert_eq!(guest.expect(socket.ports, Operation::Shutdown).flags, RECEIVES_NO_MORE);
        stream.write_all(b"one way").unwrap();
        assert_eq!(guest.read(&mut socket, 7), b"one way");
    });
}
