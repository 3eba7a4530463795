//! Credit and back-pressure: nothing is lost, whoever is slow.

use std::thread;

use super::{
    super::credit::BUF_ALLOC,
    guest::{GUEST_BUF_ALLOC, Socket},
    *,
};

/// The payload of all data packets in `packets`.
fn payload(packets: &[(packet::Header, Vec<u8>)]) -> Vec<u8> {
    packets.iter().flat_map(|(_, payload)| payload.clone()).collect()
}

/// How often the device asked for credit in `packets`.
fn requests(packets: &[(packet::Header, Vec<u8>)]) -> usize {
    packets.iter().filter(|(header, _)| header.op == Operation::CreditRequest as u16).count()
}

#[test]
fn the_host_waits_for_the_guests_credit() {
    Guest::on_each(|guest| {
        let listener = listen(&guest.handle, 1024);
        guest.start();
        let mut socket = Socket::new(connection::Ports { guest: 1, host: 1024 }, 1000);
        guest.say(&socket, Operation::Request, 0);
        guest.expect(socket.ports, Operation::Response);
        let mut stream = listener.recv().unwrap();
        let sent = pattern(5000);
        stream.write_all(&sent).unwrap();
        guest.settle();
        let packets = guest.unread();
        assert_eq!(payload(&packets), sent[..1000]);
        assert_eq!(requests(&packets), 1, "asked once");
        guest.settle();
        assert!(guest.unread().is_empty(), "nothing without credit");

        socket.fwd_cnt = 600;
        guest.say(&socket, Operation::CreditUpdate, 0);
        guest.settle();
        let packets = guest.unread();
        assert_eq!(payload(&packets), sent[1000..1600]);
        assert_eq!(requests(&packets), 1, "asked once more");

        // The guest keeps less: what is under way is more than all of that.
        (socket.buf_alloc, socket.fwd_cnt) = (500, 1000);
        guest.say(&socket, Operation::CreditUpdate, 0);
        guest.settle();
        assert!(guest.unread().is_empty());
        (socket.buf_alloc, socket.fwd_cnt) = (1 << 20, 1600);
        guest.say(&socket, Operation::CreditRequest, 0);
        guest.settle();
        let packets = guest.unread();
        assert_eq!(payload(&packets), sent[1600..]);
        assert_eq!(packets[0].0.buf_alloc, BUF_ALLOC);
        // Without anything to send, the answer is a packet of its own.
        guest.say(&socket, Operation::CreditRequest, 0);
        guest.settle();
        let packets = guest.unread();
        assert_eq!(packets.len(), 1);
        assert_eq!(packets[0].0.op, Operation::CreditUpdate as u16);
    });
}

/// Sends until there is no credit left.
fn fill(guest: &mut Guest, socket: &mut Socket, bytes: &[u8]) -> usize {
    let mut sent = 0;
    loop {
        guest.settle();
        for (header, _) in guest.unread() {
            socket.hear(&header);
        }
        let piece = (socket.credit() as usize).min(60_000).min(bytes.len() - sent);
        if piece == 0 {
            return sent;
        }
        guest.send_data(socket, &bytes[sent..sent + piece]);
        sent += piece;
    }
}

#[test]
fn the_guest_waits_for_a_host_end_that_does_not_read_and_nobody_else_does() {
    Guest::on_each(|guest| {
        let listener = listen(&guest.handle, 1024);
        guest.start();
        let mut slow = guest.connect(1, 1024).unwrap();
        let slow_stream = listener.recv().unwrap();
        let bytes = pattern(8 << 20);
        let sent = fill(guest, &mut slow, &bytes);
        assert!((BUF_ALLOC as usize..bytes.len()).contains(&sent), "{sent} bytes fit");

        let mut other = guest.connect(2, 1024).unwrap();
        let mut stream = listener.recv().unwrap();
        guest.write(&mut other, b"not held up");
        assert_eq!(read(&stream, 11), b"not held up");
        stream.write_all(b"nor back").unwrap();
        assert_eq!(guest.read(&mut other, 8), b"nor back");

        let reader = thread::spawn(move || read_all(&slow_stream));
        guest.write(&mut slow, &bytes[sent..]);
        guest.shut_down(&slow, SENDS_NO_MORE);
        assert!(reader.join().unwrap() == bytes);
    });
}

#[test]
fn what_a_guest_sent_before_it_closed_arrives() {
    Guest::on_each(|guest| {
        let listener = listen(&guest.handle, 1024);
        guest.start();
        for by_reset in [false, true] {
            let mut socket = guest.connect(1, 1024).unwrap();
            let stream = listener.recv().unwrap();
            let bytes = pattern(8 << 20);
            let sent = fill(guest, &mut socket, &bytes);
            if by_reset {
                guest.reset(&socket);
            } else {
                guest.shut_down(&socket, CLOSED);
                guest.expect(socket.ports, Operation::Reset);
            }
            // The ports are free, though the last bytes are still here.
            let mut again = guest.connect(1, 1024).unwrap();
            let again_stream = listener.recv().unwrap();
            guest.write(&mut again, b"new");
            assert_eq!(read(&again_stream, 3), b"new");
            assert!(read_all(&stream) == bytes[..sent]);
            guest.reset(&again);
            assert_eq!(read_all(&again_stream), b"");
        }
    });
}

#[test]
fn more_than_the_credit_ends_the_connection() {
    Guest::on_each(|guest| {
        let listener = listen(&guest.handle, 1024);
        guest.start();
        let mut socket = guest.connect(1, 1024).unwrap();
        let stream = listener.recv().unwrap();
        let bytes = pattern(8 << 20);
        let sent = fill(guest, &mut socket, &bytes);
        guest.send_data(&mut socket, b"x");
        guest.expect(socket.ports, Operation::Reset);
        assert!(read_all(&stream) == bytes[..sent], "what there was credit for");
    });
}

#[test]
fn nothing_is_read_from_a_host_end_without_buffers() {
    Guest::on_each(|guest| {
        guest.is_hungry = false;
        let listener = listen(&guest.handle, 1024);
        guest.start_without_buffers();
        let first = guest.rig.driver.writable(100);
        guest.offer(first);
        guest.rig.driver.kick(0);
        let mut socket = guest.connect(1, 1024).unwrap();
        let mut stream = listener.recv().unwrap();
        let sent = pattern(300);
        stream.write_all(&sent).unwrap();
        guest.settle();
        assert!(guest.unread().is_empty());
        let mut received = Vec::new();
        for len in [45_u32, 144, 4096] {
            let buffer = guest.rig.driver.writable(len);
            guest.offer(buffer);
            guest.rig.driver.kick(0);
            let expected = (len as usize - 44).min(sent.len() - received.len());
            received.extend(guest.read(&mut socket, expected));
        }
        assert_eq!(received, sent);
    });
}

#[test]
fn megabytes_cross_both_ways_at_once() {
    const LEN: usize = 6 << 20;
    Guest::on_each(|guest| {
        let listener = listen(&guest.handle, 1024);
        guest.start();
        let mut socket = guest.connect(1, 1024).unwrap();
        let stream = listener.recv().unwrap();
        let mut writer = stream.try_clone().unwrap();
        let bytes = pattern(LEN);
        let (to_guest, mut from_guest) = (bytes.clone(), &bytes[..]);
        let write = thread::spawn(move || writer.write_all(&to_guest).unwrap());
        let reader = thread::spawn(move || read(&stream, LEN));
        let mut received = Vec::new();
        while received.len() < LEN || !from_guest.is_empty() {
            let (piece, rest) = from_guest.split_at(from_guest.len().min(50_000));
            guest.write(&mut socket, piece);
            from_guest = rest;
            let piece = (LEN - received.len()).min(40_000);
            received.extend(guest.read(&mut socket, piece));
        }
        assert!(received == bytes);
        write.join().unwrap();
        assert!(reader.join().unwrap() == bytes);
    });
}

/// `cargo test --release -p hv-core what_100_megabytes_cost -- --ignored --nocapture` prints it.
#[test]
#[ignore = "a measurement, not a test"]
fn what_100_megabytes_cost() {
    const LEN: usize = 100 << 20;
    let (device, handle) = Vsock::new("vsock0", CID);
    let guest = &mut Guest::of(TransportKind::PciMsix, device, handle);
    let listener = listen(&guest.handle, 1024);
    guest.start();
    let mut socket = guest.connect(1, 1024).unwrap();
    let stream = listener.recv().unwrap();
    let mut writer = stream.try_clone().unwrap();
    let reader = thread::spawn(move || {
        let (mut buffer, mut stream, mut left) = (vec![0; 1 << 20], &stream, LEN);
        while left > 0 {
            left -= stream.read(&mut buffer).unwrap();
        }
    });
    let piece = pattern(64 << 10);
    let start = std::time::Instant::now();
    for _ in 0..LEN / piece.len() {
        guest.write(&mut socket, &piece);
    }
    reader.join().unwrap();
    println!("guest to host: {:?}", start.elapsed());
    let write = thread::spawn(move || {
        for _ in 0..LEN / piece.len() {
            writer.write_all(&piece).unwrap();
        }
    });
    let start = std::time::Instant::now();
    for _ in 0..LEN / (GUEST_BUF_ALLOC as usize / 4) {
        guest.read(&mut socket, GUEST_BUF_ALLOC as usize / 4);
    }
    println!("host to guest: {:?}", start.elapsed());
    write.join().unwrap();
}
