//! Packets are those of a wire, whatever was left open.

use std::net::Ipv6Addr;

use super::*;

/// Not the one that is tested. The sum of `bytes` as words in network order; an odd byte at the end is the upper half of a word.
fn sum(bytes: &[u8]) -> u64 {
    let words = bytes.chunks_exact(2);
    let odd = words.remainder().first().map_or(0, |byte| u64::from(*byte) << 8);
    words.map(|word| u64::from(u16::from_be_bytes([word[0], word[1]]))).sum::<u64>() + odd
}

/// `sum` in ones' complement of 16 bits.
fn fold(mut sum: u64) -> u16 {
    loop {
        match u16::try_from(sum) {
            Ok(folded) => return folded,
            Err(_) => sum = (sum & 0xffff) + (sum >> 16),
        }
    }
}

/// A TCP frame with `payload`, whose checksum field holds the pseudo header's sum as a sender leaves it, and the
/// header that says so; cut at `size` unless that is 0.
pub(crate) fn tcp(is_v6: bool, payload: &[u8], size: u16) -> (FrameHeader, Vec<u8>) {
    let mut frame = vec![2; 6];
    frame.extend([6; 6]);
    let length = u16::try_from(20 + payload.len()).unwrap();
    let addresses;
    if is_v6 {
        frame.extend(IPV6.to_be_bytes());
        frame.extend([0x60, 0, 0, 0]);
        frame.extend(length.to_be_bytes());
        frame.extend([6, 64]);
        addresses = frame.len()..frame.len() + 32;
        frame.extend("fd00::1".parse::<Ipv6Addr>().unwrap().octets());
        frame.extend("fd00::2".parse::<Ipv6Addr>().unwrap().octets());
    } else {
        frame.extend(IPV4.to_be_bytes());
        let ip = frame.len();
        frame.extend([0x45, 0]);
        frame.extend((length + 20).to_be_bytes());
        frame.extend([0xff, 0xff, 0x40, 0, 64, 6, 0, 0]);
        addresses = frame.len()..frame.len() + 8;
        frame.extend([10, 0, 2, 15, 10, 0, 2, 2]);
        let sum = !fold(sum(&frame[ip..]));
        frame[ip + 10..ip + 12].copy_from_slice(&sum.to_be_bytes());
    }
    let pseudo = fold(sum(&frame[addresses]) + 6 + u64::from(length));
    let start = frame.len();
    frame.extend([0, 80, 0x30, 0x39, 0xff, 0xff, 0xff, 0xf0, 0, 0, 0, 1, 0x50, 0x99, 0x10, 0]);
    frame.extend(pseudo.to_be_bytes());
    frame.extend([0, 0]);
    frame.extend(payload);
    let gso_type = match (size, is_v6) {
        (0, _) => FrameHeader::GSO_NONE,
        (_, true) => FrameHeader::GSO_TCPV6,
        (_, false) => FrameHeader::GSO_TCPV4,
    };
    let checksum_start = u16::try_from(start).unwrap();
    let flags = FrameHeader::NEEDS_CHECKSUM;
    (
        FrameHeader { flags, gso_type, header_len: 0, gso_size: size, checksum_start, checksum_offset: 16 },
        frame,
    )
}

/// Whether both checksums of a TCP `packet` are right, found without the code above.
pub(crate) fn is_right(packet: &[u8]) -> bool {
    let add = |bytes: &[u8]| {
        let mut total = 0_u32;
        for (at, byte) in bytes.iter().enumerate() {
            total += if at % 2 == 0 { u32::from(*byte) << 8 } else { u32::from(*byte) };
        }
        total
    };
    let is_ones = |sum: u32| sum != 0 && sum.is_multiple_of(0xffff);
    let is_v6 = packet[12] == 0x86;
    let (addresses, tcp) = if is_v6 { (22..54, 54) } else { (26..34, 34) };
    let length = u32::try_from(packet.len() - tcp).unwrap();
    let said = if is_v6 {
        usize::from(packet[18]) * 256 + usize::from(packet[19]) + 54
    } else {
        usize::from(packet[16]) * 256 + usize::from(packet[17]) + 14
    };
    said == packet.len()
        && (is_v6 || is_ones(add(&packet[14..34])))
        && is_ones(add(&packet[addresses]) + 6 + length + add(&packet[tcp..]))
}

fn all(header: FrameHeader, frame: &mut [u8]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    packets(header, frame, |packet| found.push(packet.to_vec()));
    found
}

#[test]
fn an_open_checksum_is_completed() {
    for is_v6 in [false, true] {
        for payload in [&b""[..], b"x", b"even", b"oddly"] {
            let (header, mut frame) = tcp(is_v6, payload, 0);
            assert!(!is_right(&frame));
            let found = all(header, &mut frame);
            assert_eq!(found.len(), 1);
            assert!(is_right(&found[0]), "{is_v6} {payload:?}");
        }
    }
}

#[test]
fn tcp_is_cut_into_packets_that_a_wire_would_carry() {
    for is_v6 in [false, true] {
        let payload: Vec<u8> = (0..4001_u32).map(|at| at.to_le_bytes()[0]).collect();
        let (header, mut frame) = tcp(is_v6, &payload, 1000);
        let found = all(header, &mut frame);
        let start = usize::from(header.checksum_start);
        assert_eq!(
            found.iter().map(|packet| packet.len() - start - 20).collect::<Vec<_>>(),
            [1000, 1000, 1000, 1000, 1]
        );
        let content: Vec<u8> = found.iter().flat_map(|packet| packet[start + 20..].to_vec()).collect();
        assert_eq!(content, payload);
        for (index, packet) in found.iter().enumerate() {
            assert!(is_right(packet), "{is_v6} {index}");
            let sequence = u32::from_be_bytes(packet[start + 4..start + 8].try_into().unwrap());
            let before = 1000 * u32::try_from(index).unwrap();
            assert_eq!(sequence, 0xffff_fff0_u32.wrapping_add(before));
        }
        // CWR, then ACK alone, then PSH and FIN: 0x99 has them all.
        let flags: Vec<_> = found.iter().map(|packet| packet[start + 13]).collect();
        assert_eq!(flags, [0x90, 0x10, 0x10, 0x10, 0x19]);
    }
}

#[test]
fn nonsense_goes_as_it_is() {
    let (header, frame) = tcp(false, &[7; 3000], 1000);
    let wrong = [
        FrameHeader { gso_type: FrameHeader::GSO_TCPV6, ..header },
        FrameHeader { gso_type: 77, ..header },
        FrameHeader { gso_size: 0, ..header },
        FrameHeader { gso_size: 1, ..header },
        FrameHeader { checksum_start: 0, ..header },
        FrameHeader { checksum_start: u16::MAX, checksum_offset: u16::MAX, ..header },
    ];
    for header in wrong {
        let header = FrameHeader { flags: 0, ..header };
        assert!(all(header, &mut frame.clone()).iter().eq([&frame]), "{header:?}");
    }
    let beyond = FrameHeader { gso_type: 0, checksum_start: 3000, checksum_offset: 3000, ..header };
    assert!(all(beyond, &mut frame.clone()).iter().eq([&frame]));
    assert_eq!(all(header, &mut [0; 20]), [[0; 20]]);
    assert_eq!(all(header, &mut []).concat(), []);
}

proptest::proptest! {
    #[test]
    fn no_bytes_break_it(
        bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200),
        header in proptest::array::uniform12(proptest::num::u8::ANY),
        kind in 0_usize..4,
    ) {
        let mut bytes = bytes;
        if bytes.len() >= 14 {
            let kinds = [IPV4, IPV6, 0x8100, 0];
            bytes[12..14].copy_from_slice(&kinds[kind].to_be_bytes());
        }
        let mut header = FrameHeader::from_bytes(header);
        header.gso_type &= 0x85;
        header.checksum_start &= 0xff;
        header.gso_size &= 0x3f;
        let mut count = 0;
        packets(header, &mut bytes, |_| count += 1);
        proptest::prop_assert!(count >= 1);
    }
}
