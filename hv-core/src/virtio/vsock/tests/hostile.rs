//! Packets that no driver should send.

use super::{
    super::{connection::Ports, packet::Header},
    guest::Socket,
    *,
};

fn is_alive(guest: &mut Guest, listener: &mpsc::Receiver<UnixStream>) {
    let mut socket = guest.connect(60_000, 1024).expect("accepted");
    let stream = listener.recv().unwrap();
    guest.write(&mut socket, b"alive");
    assert_eq!(read(&stream, 5), b"alive");
    guest.shut_down(&socket, CLOSED);
    guest.expect(socket.ports, Operation::Reset);
    assert!(!guest.rig.driver.status().contains(Status::NEEDS_RESET));
}

#[test]
fn packets_for_nobody_are_refused_or_dropped() {
    Guest::on_each(|guest| {
        let listener = listen(&guest.handle, 1024);
        guest.start();
        let request = Socket::new(Ports { guest: 1, host: 1024 }, 1000).header(Operation::Request);
        for header in [
            Header { kind: 2, ..request },
            Header { kind: 0xffff, ..request },
            Header { dst_cid: 1, ..request },
            Header { dst_cid: u64::MAX, ..request },
            Header { op: Operation::Response as u16, ..request },
            Header { op: Operation::Shutdown as u16, ..request },
            Header { op: Operation::Data as u16, ..request },
            Header { op: Operation::CreditUpdate as u16, ..request },
            Header { op: Operation::CreditRequest as u16, ..request },
            Header { op: 0, ..request },
            Header { op: 8, ..request },
            Header { op: u16::MAX, ..request },
        ] {
            guest.send(&header, b"");
            guest.settle();
            let packets = guest.unread();
            assert_eq!(packets, [(header.refusal(), Vec::new())], "answers to {header:?}");
        }
        for header in [
            Header { op: Operation::Reset as u16, ..request },
            Header { op: Operation::Reset as u16, kind: 9, ..request },
            Header { src_cid: 4, ..request },
            Header { src_cid: HOST_CID, ..request },
            Header { src_cid: 3 | 1 << 32, ..request },
        ] {
            guest.send(&header, b"");
            guest.settle();
            assert_eq!(guest.unread(), [], "answers to {header:?}");
        }
        for len in [1, 43] {
            let short = guest.rig.driver.readable(&vec![1; len]);
            guest.rig.driver.request(1, &[short]);
        }
        let wrong_way = guest.rig.driver.writable(64);
        guest.rig.driver.request(1, &[wrong_way]);
        assert!(listener.try_recv().is_err(), "nobody was connected");
        is_alive(guest, &listener);
    });
}

/// What a guest may do wrong on a connection.
type Breach = fn(&mut Guest, &mut Socket);

const BREACHES: &[Breach] = &[
    |guest, socket| guest.say(socket, Operation::Request, 0),
    |guest, socket| guest.say(socket, Operation::Response, 0),
    |guest, socket| guest.send(&Header { op: 9, ..socket.header(Operation::Data) }, b""),
    // More payload than the chain has, and than any has.
    |guest, socket| guest.send(&Header { len: 6, ..socket.header(Operation::Data) }, b"short"),
    |guest, socket| guest.send(&Header { len: u32::MAX, ..socket.header(Operation::Data) }, b"short"),
    |guest, socket| guest.send_data(socket, &[7; (256 << 10) + 1]),
    |guest, socket| {
        guest.shut_down(socket, SENDS_NO_MORE);
        guest.send_data(socket, b"after all");
    },
];

#[test]
fn a_breach_of_the_protocol_ends_the_connection() {
    Guest::on_each(|guest| {
        let listener = listen(&guest.handle, 1024);
        guest.start();
        for breach in BREACHES {
            let mut socket = guest.connect(1, 1024).unwrap();
            let stream = listener.recv().unwrap();
            guest.write(&mut socket, b"before");
            breach(guest, &mut socket);
            guest.expect(socket.ports, Operation::Reset);
            assert_eq!(read_all(&stream), b"before");
        }
        is_alive(guest, &listener);
    });
}

#[test]
fn an_answer_that_is_none_ends_the_hosts_request() {
    Guest::on_each(|guest| {
        let listener = listen(&guest.handle, 1024);
        guest.start();
        for operation in [Operation::Data, Operation::Shutdown, Operation::CreditRequest, Operation::Request]
        {
            let stream = guest.handle.connect(5).unwrap();
            let request = guest.wait(|header, _| header.op == Operation::Request as u16).0;
            let socket = Socket::new(Ports { guest: 5, host: request.src_port }, 1000);
            guest.say(&socket, operation, CLOSED);
            guest.expect(socket.ports, Operation::Reset);
            assert_eq!(read_all(&stream), b"");
        }
        is_alive(guest, &listener);
    });
}

#[test]
fn payload_beyond_the_length_is_not_passed_on() {
    Guest::on_each(|guest| {
        let listener = listen(&guest.handle, 1024);
        guest.start();
        let mut socket = guest.connect(1, 1024).unwrap();
        let stream = listener.recv().unwrap();
        guest.send(&Header { len: 3, ..socket.header(Operation::Data) }, b"abcdef");
        socket.sent += 3;
        guest.send(&Header { len: 0, ..socket.header(Operation::Data) }, b"");
        guest.write(&mut socket, b"ghi");
        guest.shut_down(&socket, CLOSED);
        assert_eq!(read_all(&stream), b"abcghi");
    });
}

#[test]
fn a_driver_that_never_listens_is_made_to_wait() {
    Guest::on_each(|guest| {
        let listener = listen(&guest.handle, 1024);
        guest.is_hungry = false;
        guest.start_without_buffers();
        let data = Socket::new(Ports { guest: 1, host: 9 }, 1000).header(Operation::Data);
        let packet = guest.rig.driver.readable(&data.encode());
        let (mut sent, mut heard) = (0, 0);
        for _ in 0..10 {
            while guest.rig.driver.queue(1).add(&[packet]).is_some() {
                sent += 1;
            }
            guest.settle();
            guest.rig.device.pause();
            while guest.rig.driver.queue(1).take_used().is_some() {
                heard += 1;
            }
            guest.rig.device.resume();
        }
        assert!((1..200).contains(&heard), "{heard} packets heard without a buffer for answers");
        // Once it listens, all goes on.
        guest.is_hungry = true;
        for _ in 0..8 {
            let buffer = guest.rig.driver.writable(4096);
            guest.offer(buffer);
        }
        guest.rig.driver.kick(0);
        for _ in 0..sent {
            guest.expect(Ports { guest: 1, host: 9 }, Operation::Reset);
        }
        guest.settle();
        while guest.rig.driver.queue(1).take_used().is_some() {}
        guest.unread();
        is_alive(guest, &listener);
    });
}

#[test]
fn a_receive_buffer_without_room_for_a_packet_breaks_the_device() {
    Guest::on_each(|guest| {
        let listener = listen(&guest.handle, 1024);
        guest.start_without_buffers();
        let short = guest.rig.driver.writable(44);
        guest.offer(short);
        let stream = guest.handle.connect(1).unwrap();
        assert!(guest.rig.driver.registers().wait_config_interrupt());
        assert!(guest.rig.driver.status().contains(Status::NEEDS_RESET));
        assert_eq!(read_all(&stream), b"", "its connections end");
        guest.start();
        is_alive(guest, &listener);
    });
}
