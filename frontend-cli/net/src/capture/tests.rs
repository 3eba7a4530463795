//! A capture is read back: by a small reader here, and by tshark where it is installed.

use std::{fs, process::Command};

use hv_core::net::FrameHeader;

use super::*;
use crate::{
    offload::tests::{is_right, tcp},
    testing::{Plain, Ram, Worker},
};

/// Direction flags and bytes of each packet in a pcapng file, whose frame is checked.
fn read(file: &[u8]) -> Vec<(u32, Vec<u8>)> {
    let word = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().unwrap());
    let (mut at, mut kinds, mut packets) = (0, Vec::new(), Vec::new());
    while at < file.len() {
        let len = usize::try_from(word(at + 4)).unwrap();
        assert_eq!(usize::try_from(word(at + len - 4)).unwrap(), len);
        assert_eq!(len % 4, 0);
        kinds.push(word(at));
        match word(at) {
            SECTION => assert_eq!(word(at + 8), 0x1a2b_3c4d),
            1 => assert_eq!(word(at + 8), 1),
            6 => {
                let bytes = usize::try_from(word(at + 20)).unwrap();
                assert_eq!(word(at + 20), word(at + 24));
                let options = at + 28 + bytes.next_multiple_of(4);
                assert_eq!(word(options), 2 | 4 << 16);
                assert_eq!(word(options + 8), 0);
                let time = u64::from(word(at + 12)) << 32 | u64::from(word(at + 16));
                assert!(time > 1_500_000_000_000_000_000, "{time}");
                packets.push((word(options + 4), file[at + 28..at + 28 + bytes].to_vec()));
            }
            other => panic!("{other:#x}"),
        }
        at += len;
    }
    assert_eq!(kinds[..2], [SECTION, 1]);
    packets
}

const SECTION: u32 = 0x0a0d_0d0a;

#[test]
fn what_passes_is_in_the_file_as_packets_of_a_wire() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("capture.pcapng");
    let file = CaptureFile::new(File::create(&path).unwrap()).unwrap();
    let plain = [Plain::default(), Plain::default()];
    let mut pairs = plain.clone().map(|plain| Worker::new(Capture::around(Box::new(plain), &file)));

    let payload: Vec<u8> = (0..5000_u32).map(|at| at.to_le_bytes()[0]).collect();
    let (large, large_frame) = tcp(false, &payload, 1448);
    let (open, open_frame) = tcp(true, b"odd", 0);
    // Frames pass unchanged, whatever the capture makes of them.
    assert!(pairs[0].backend.send(large, Ram::with(&large_frame).buffer()).unwrap());
    assert_eq!(*plain[0].sent.lock().unwrap(), [(large, large_frame)]);
    plain[1].to_give.lock().unwrap().push_back((open, open_frame.clone()));
    assert_eq!(pairs[1].receive().unwrap(), Some((open, open_frame)));
    // A frame that waits for room passes once.
    *plain[1].is_full.lock().unwrap() = true;
    assert!(!pairs[1].send(b"not yet, not yet").unwrap());
    *plain[1].is_full.lock().unwrap() = false;
    assert!(pairs[1].send(b"a frame of nonsense").unwrap());
    assert_eq!(pairs[1].receive().unwrap(), None);

    // All of it is there while the capture goes on.
    let packets = read(&fs::read(&path).unwrap());
    assert_eq!(packets.iter().map(|(flags, _)| *flags).collect::<Vec<_>>(), [2, 2, 2, 2, 1, 2]);
    assert_eq!(packets[5].1, b"a frame of nonsense");
    assert!(packets[..5].iter().all(|(_, packet)| is_right(packet)));
    let content: Vec<u8> = packets[..4].iter().flat_map(|(_, packet)| packet[54..].to_vec()).collect();
    assert_eq!(content, payload);

    let tshark = Command::new("tshark")
        .args(["-o", "tcp.check_checksum:TRUE", "-o", "ip.check_checksum:TRUE", "-r"])
        .arg(&path)
        .args([
            "-T",
            "fields",
            "-e",
            "tcp.checksum.status",
            "-e",
            "ip.checksum.status",
            "-e",
            "_ws.malformed",
        ])
        .arg("tcp")
        .output();
    match tshark {
        Ok(output) => {
            assert!(output.status.success(), "{output:?}");
            // Good, and good or (IPv6) none.
            let expected = "1\t1\t\n".repeat(4) + "1\t\t\n";
            assert_eq!(String::from_utf8_lossy(&output.stdout), expected);
        }
        Err(error) => println!("read without tshark: {error}"),
    }
}

#[test]
fn a_file_that_takes_no_more_ends_the_capture_alone() {
    let Ok(full) = fs::OpenOptions::new().write(true).open("/dev/full") else {
        println!("skipped: this host has no /dev/full");
        return;
    };
    assert!(Capture::new(Box::new(Plain::default()), full).is_err());

    // One that fails later: its descriptor is for reading only.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("capture.pcapng");
    let file = CaptureFile::new(File::create(&path).unwrap()).unwrap();
    let plain = Plain::default();
    let mut card = Worker::new(Capture::around(Box::new(plain.clone()), &file));
    assert!(card.send(b"the first frame").unwrap());
    let before = fs::read(&path).unwrap();
    file.with(|writer| {
        writer.break_file(File::open(&path).unwrap());
        Ok(())
    });
    assert!(card.send(b"the second frame").unwrap());
    assert!(!file.is_open());
    assert!(card.send(b"the third frame").unwrap());
    assert_eq!(plain.sent.lock().unwrap().len(), 3);
    assert_eq!(fs::read(&path).unwrap(), before);
    assert_eq!(read(&before).len(), 1);
}

#[test]
fn headers_of_any_kind_are_taken() {
    let file = CaptureFile::new(tempfile::tempfile().unwrap()).unwrap();
    let mut card = Worker::new(Capture::around(Box::new(Plain::default()), &file));
    for flags in 0..=255 {
        let header =
            FrameHeader { flags, gso_type: flags, gso_size: 1, checksum_start: 20, ..Default::default() };
        for frame in [&[][..], &[1], &[7; 70]] {
            assert!(card.backend.send(header, Ram::with(frame).buffer()).unwrap());
        }
    }
    assert!(file.is_open());
}
