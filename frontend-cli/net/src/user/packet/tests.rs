//! Frames taken apart, whole and broken.

use super::*;

fn v4(options: usize, payload: &[u8]) -> Vec<u8> {
    let header = IPV4 + options;
    let total = u16::try_from(header + payload.len()).unwrap().to_be_bytes();
    let mut packet =
        vec![0x40 | u8::try_from(header / 4).unwrap(), 0, total[0], total[1], 0, 0, 0x40, 0, 64, TCP];
    packet.extend([0, 0, 10, 0, 2, 15, 192, 0, 2, 1]);
    packet.resize(header, 1);
    let sum = Sum::default().add(&packet).complete();
    packet[10..12].copy_from_slice(&sum);
    packet.extend(payload);
    let mut frame = vec![0; 12];
    frame.extend([8, 0]);
    frame.extend(packet);
    frame
}

fn v6(next: u8, rest: &[u8]) -> Vec<u8> {
    let len = u16::try_from(rest.len()).unwrap().to_be_bytes();
    let mut frame = vec![0; 12];
    frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, len[0], len[1], next, 64]);
    frame.extend([0xfd; 16]);
    frame.extend([0x20; 16]);
    frame.extend(rest);
    frame
}

#[test]
fn v4_with_options_and_padding() {
    let mut frame = v4(8, b"payload");
    frame.extend([0; 20]);
    let packet = Packet::parse(&frame).unwrap();
    assert_eq!(packet.source, IpAddr::from([10, 0, 2, 15]));
    assert_eq!(packet.destination, IpAddr::from([192, 0, 2, 1]));
    assert_eq!(&frame[packet.transport..packet.end], b"payload");
    assert!(!packet.is_fragment);
}

#[test]
fn broken_v4_is_none() {
    let good = v4(0, b"payload");
    for cut in 0..good.len() {
        assert_eq!(Packet::parse(&good[..cut]), None, "{cut}");
    }
    for (at, value) in [(14, 0x44), (14, 0x65), (14, 0x4f), (22, 1), (12, 9)] {
        let mut bad = good.clone();
        bad[at] = value;
        assert_eq!(Packet::parse(&bad), None, "{at}: {value}");
    }
}

#[test]
fn v6_extensions_are_passed_over_and_taken_out() {
    let mut rest = vec![60, 0, 0, 0, 0, 0, 0, 0, TCP, 1];
    rest.resize(24, 0);
    rest.extend(b"payload");
    let mut frame = v6(0, &rest);
    let packet = Packet::parse(&frame).unwrap();
    assert_eq!((packet.protocol, &frame[packet.transport..packet.end]), (TCP, &b"payload"[..]));
    let plain = packet.without_extensions(&mut frame);
    assert_eq!((plain.len(), plain[6], &plain[4..6]), (IPV6 + 7, TCP, &[0, 7][..]));
    assert_eq!(&plain[IPV6..], b"payload");
}

#[test]
fn v6_extensions_without_end_are_none() {
    assert_eq!(Packet::parse(&v6(0, &[0, 255, 0, 0, 0, 0, 0, 0])), None);
    assert_eq!(Packet::parse(&v6(43, &[0])), None);
    let endless = Packet::parse(&v6(0, &[0; 4096])).unwrap();
    assert_eq!(endless.protocol, 0, "not one that is answered");
    assert!(Packet::parse(&v6(44, &[TCP, 0, 0, 1, 0, 0, 0, 0])).unwrap().is_fragment);
}
