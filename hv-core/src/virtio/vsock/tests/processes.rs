//! Other processes of the host: the `CONNECT` line, and sockets beside the served one.

use super::*;

/// A served socket in a folder of its own.
struct Place {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

fn serve(handle: &VsockHandle) -> Place {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vsock.sock");
    handle.serve(UnixListener::bind(&path).unwrap()).unwrap();
    Place { _folder: folder, path }
}

impl Place {
    fn client(&self, words: &[u8]) -> UnixStream {
        let mut stream = UnixStream::connect(&self.path).unwrap();
        stream.write_all(words).unwrap();
        stream
    }
}

#[test]
fn a_process_asks_for_a_port_by_a_line() {
    Guest::on_each(|guest| {
        let early = serve(&guest.handle);
        guest.start();
        let late = serve(&guest.handle);
        for place in [early, late] {
            let mut stream = place.client(b"CONNECT 1024\nand this is for the guest");
            let mut socket = guest.accept(1024);
            let line = format!("OK {}\n", socket.ports.host);
            assert_eq!(read(&stream, line.len()), line.as_bytes());
            assert_eq!(guest.read(&mut socket, 25), b"and this is for the guest");
            guest.write(&mut socket, b"OK too");
            assert_eq!(read(&stream, 6), b"OK too");
            stream.write_all(b"bye").unwrap();
            drop(stream);
            assert_eq!(guest.read(&mut socket, 3), b"bye");
            guest.expect(socket.ports, Operation::Shutdown);
        }
    });
}

#[test]
fn a_line_may_come_in_pieces() {
    Guest::on_each(|guest| {
        let place = serve(&guest.handle);
        guest.start();
        let mut stream = place.client(b"CONN");
        guest.settle();
        stream.write_all(b"ECT 7").unwrap();
        guest.settle();
        assert!(guest.unread().is_empty());
        stream.write_all(b"\n").unwrap();
        let socket = guest.accept(7);
        assert!(read(&stream, 3) == b"OK " && socket.ports.guest == 7);
    });
}

#[test]
fn a_process_that_is_refused_reads_the_end() {
    Guest::on_each(|guest| {
        let place = serve(&guest.handle);
        guest.start();
        let stream = place.client(b"CONNECT 7\n");
        let request = guest.wait(|header, _| header.op == Operation::Request as u16).0;
        guest.send(&request.refusal(), b"");
        assert_eq!(read_all(&stream), b"");
    });
}

#[test]
fn a_process_that_goes_before_the_answer_is_forgotten() {
    Guest::on_each(|guest| {
        let place = serve(&guest.handle);
        guest.start();
        let stream = place.client(b"CONNECT 7\n");
        let request = guest.wait(|header, _| header.op == Operation::Request as u16).0;
        drop(stream);
        let reset = guest.wait(|header, _| header.op == Operation::Reset as u16).0;
        assert_eq!((reset.src_port, reset.dst_port), (request.src_port, 7));
    });
}

#[test]
fn nonsense_is_dropped_and_who_dawdles_waits_until_others_need_the_place() {
    Guest::on_each(|guest| {
        let place = serve(&guest.handle);
        guest.start();
        for words in [
            &b"\n"[..],
            b"GET / HTTP/1.1\n",
            b"CONNECT\n",
            b"CONNECT x\n",
            b"CONNECT 99999999999\n",
            b"\xff\xff\xff\xff\n",
            &[b'C'; 32],
            &[0; 32],
        ] {
            let stream = place.client(words);
            assert_eq!(read_all(&stream), b"", "{words:?}");
        }
        let dawdler = place.client(b"CONNECT 1");
        guest.settle();
        let mut others: Vec<_> = (0..63)
            .map(|_| {
                let other = place.client(b"CONN");
                // One after the other, so that it is known which is the oldest.
                guest.settle();
                other
            })
            .collect();
        dawdler.set_nonblocking(true).unwrap();
        assert_eq!((&dawdler).read(&mut [0]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        dawdler.set_nonblocking(false).unwrap();
        let served = place.client(b"CONNECT 9\n");
        guest.accept(9);
        assert_eq!(read(&served, 3), b"OK ");
        assert_eq!(read_all(&dawdler), b"", "the oldest made room");
        others[0].write_all(b"ECT 8\n").unwrap();
        guest.accept(8);
        assert_eq!(read(&others[0], 3), b"OK ");
    });
}

#[test]
fn the_guest_reaches_sockets_beside_the_served_one() {
    Guest::on_each(|guest| {
        let place = serve(&guest.handle);
        let mut beside = place.path.clone().into_os_string();
        beside.push("_52");
        let listener = UnixListener::bind(&beside).unwrap();
        guest.start();
        let mut socket = guest.connect(1, 52).expect("accepted");
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"hello").unwrap();
        assert_eq!(guest.read(&mut socket, 5), b"hello");
        guest.write(&mut socket, b"guest");
        assert_eq!(read(&stream, 5), b"guest");
        assert!(guest.connect(1, 53).is_none(), "there is no such socket");
        drop(listener);
        assert!(guest.connect(2, 52).is_none(), "nobody listens any more");
        let listens = listen(&guest.handle, 52);
        guest.connect(2, 52).expect("what listens here comes first");
        listens.recv().unwrap();
    });
}
