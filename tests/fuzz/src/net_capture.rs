//! Frames of a guest, and what they leave to others, in a capture.

use std::{fs::File, io, os::unix::fs::FileExt};

use hv_core::{
    memory::{GuestAddress, GuestBuffer, GuestMemoryMmap, Segment},
    net::{FrameHeader, MAX_FRAME, NetBackend, Offloads, Received},
};
use hv_net::capture::Capture;

use crate::Input;

/// Takes everything and gives nothing.
struct Sink;

impl NetBackend for Sink {
    fn takes(&self) -> Offloads {
        Offloads::all()
    }

    fn gives(&self) -> Offloads {
        Offloads::empty()
    }

    fn start(&mut self, _: Offloads, _: &mio::Registry) -> io::Result<()> {
        Ok(())
    }

    fn stop(&mut self, _: &mio::Registry) {}

    fn wake(&mut self, _: &mio::Events) {}

    fn send(&mut self, _: FrameHeader, _: GuestBuffer<'_>) -> io::Result<bool> {
        Ok(true)
    }

    fn next_len(&mut self) -> Option<usize> {
        None
    }

    fn receive(&mut self, _: GuestBuffer<'_>) -> io::Result<Option<Received>> {
        Ok(None)
    }
}

/// A few frames with any header, some of them TCP to be cut.
///
/// The file is whole blocks; each frame is there, as it is if nothing was left open, and as packets whose payloads are
/// the frame's if it was cut.
///
/// # Panics
/// The capture breaks one of these.
pub fn net_capture(data: &[u8]) {
    let mut input = Input::new(data);
    let file = tempfile::tempfile().expect("a temporary file");
    let kept = file.try_clone().expect("a second handle");
    let mut capture = Capture::new(Box::new(Sink), file).expect("a file that can be written");
    let ram = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 1 << 17)]).expect("guest RAM");
    let mut sent = Vec::new();
    for _ in 0..=input.below(4) {
        let (header, frame) = frame(&mut input);
        let len = u32::try_from(frame.len()).expect("a short frame");
        let segments = [Segment { address: GuestAddress(0), len }];
        let buffer = GuestBuffer { ram: &ram, segments: &segments };
        buffer.copy_from(&frame).expect("room for it");
        assert!(capture.send(header, buffer).expect("a sink"));
        sent.push((header, frame));
    }
    capture.flush();

    let mut packets = packets(&kept).into_iter().peekable();
    for (header, frame) in sent {
        let mut first = packets.next().expect("each frame is there");
        let is_open = header.flags & FrameHeader::NEEDS_CHECKSUM != 0;
        if header.gso_type == FrameHeader::GSO_NONE || first.len() == frame.len() {
            assert_eq!(first.len(), frame.len());
            assert!(is_open || header.gso_type != FrameHeader::GSO_NONE || first == frame, "it was changed");
            continue;
        }
        let tcp = usize::from(header.checksum_start);
        let payload = tcp + usize::from(frame[tcp + 12] >> 4) * 4;
        let mut found = Vec::new();
        loop {
            assert!(first.len() <= payload + usize::from(header.gso_size));
            found.extend_from_slice(&first[payload..]);
            if found.len() >= frame.len() - payload {
                break;
            }
            first = packets.next().expect("all of the frame");
        }
        assert!(found == frame[payload..], "payload is lost");
    }
    assert_eq!(packets.next(), None);
}

/// A frame: any bytes, or TCP over IPv4 or IPv6 with any payload, and a header that may lie.
fn frame(input: &mut Input<'_>) -> (FrameHeader, Vec<u8>) {
    let mut header = FrameHeader {
        flags: input.u8() & 3,
        gso_type: input.choose(&[0, 1, 4, 0x81, 0x84, 3]),
        header_len: 0,
        gso_size: input.u16() >> input.below(16),
        checksum_start: u16::from(input.u8()),
        checksum_offset: 16,
    };
    let mut frame = input.bytes(80).to_vec();
    let is_v6 = header.gso_type & 4 != 0;
    if input.flag() && frame.len() >= 14 {
        frame[12..14].copy_from_slice(if is_v6 { &[0x86, 0xdd] } else { &[8, 0] });
        header.checksum_start = if is_v6 { 54 } else { 34 };
        frame.resize(frame.len().max(75), 0x50);
    }
    let most = if input.flag() { usize::from(input.u16()) } else { 200 };
    frame.resize((frame.len() + most).min(MAX_FRAME), input.u8());
    (header, frame)
}

/// The packets of a pcapng file, which is whole.
fn packets(file: &File) -> Vec<Vec<u8>> {
    let len = file.metadata().expect("a file").len();
    let mut bytes = vec![0; usize::try_from(len).expect("a short file")];
    file.read_exact_at(&mut bytes, 0).expect("its bytes");
    let (mut rest, mut packets) = (&bytes[..], Vec::new());
    while !rest.is_empty() {
        let word = |at: usize| u32::from_le_bytes(rest[at..at + 4].try_into().expect("four bytes"));
        let len = usize::try_from(word(4)).expect("a length");
        assert!(len >= 12 && len % 4 == 0 && word(len - 4) == word(4), "a block of {len} bytes");
        if word(0) == 6 {
            let len = usize::try_from(word(20)).expect("a length");
            assert!(len <= MAX_FRAME && word(20) == word(24));
            packets.push(rest[28..28 + len].to_vec());
        }
        rest = &rest[len..];
    }
    packets
}
