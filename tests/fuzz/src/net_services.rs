//! The user network's own services: ARP, neighbour discovery, DHCP, DNS, pings, fragments.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hv_net::fuzzing::Frames;
use smoltcp::wire::{
    ArpPacket, EthernetFrame, EthernetProtocol, Icmpv4Packet, Icmpv6Packet, IpProtocol, Ipv4Packet,
    Ipv6Packet, UdpPacket,
};

use crate::Input;

const GUEST: [u8; 6] = [0x52, 0x54, 0, 1, 2, 3];

/// What the outbox holds at most.
const MAX_FRAMES: usize = 512;

/// Frames of a guest: any bytes, or IP packets with addresses, protocols and fragments as guests and attackers make
/// them; time passes, and addresses are asked for.
///
/// What is for the guest has the gateway's address, fits the MTU and has right checksums; what passes is TCP or UDP
/// from an address that the guest may have; what is learned of the guest is such an address.
///
/// # Panics
/// One of these is not so.
pub fn net_services(data: &[u8]) {
    let mut frames = Frames::new();
    let mut input = Input::new(data);
    while !input.is_empty() {
        match input.u8() % 16 {
            0 => frames.pass_time(),
            1 => frames.resolve(if input.flag() { v4(&mut input).into() } else { v6(&mut input).into() }),
            kind => {
                let frame = frame(&mut input, kind);
                if let Some(passed) = frames.handle(&frame) {
                    check_passed(&passed);
                }
            }
        }
        let mut count = 0;
        while let Some(frame) = frames.next_frame() {
            check_reply(&frame);
            count += 1;
        }
        assert!(count <= MAX_FRAMES);
        let (mac, ipv4, ipv6) = frames.guest();
        assert!(mac.is_none_or(|mac| mac[0] & 1 == 0 && mac != Frames::GATEWAY));
        assert!(ipv4.is_none_or(|address| may_be_guest(address.into())), "{ipv4:?}");
        assert!(ipv6.is_none_or(|address| may_be_guest(address.into())), "{ipv6:?}");
    }
}

/// The next frame of the guest.
fn frame(input: &mut Input<'_>, kind: u8) -> Vec<u8> {
    let len = usize::from(input.u8());
    let repeat = if input.u8() > 0xf0 { 200 } else { 1 };
    let mut header = [Frames::GATEWAY, GUEST].concat();
    match kind {
        2 => return input.bytes(len).to_vec(),
        3 => {
            header.extend([8, 6]);
            header.extend([0, 1, 8, 0, 6, 4, 0, input.u8() & 3]);
            header.extend(GUEST);
            header.extend(v4(input).octets());
            header.extend([0; 6]);
            header.extend(v4(input).octets());
        }
        4..10 => {
            header.extend([8, 0]);
            let (source, destination) = (v4(input), v4(input));
            let (protocol, fragment) = (protocol(input), if kind > 7 { input.u16() } else { 0 });
            let payload = input.bytes(len).repeat(repeat);
            let total = u16::try_from(20 + payload.len()).unwrap_or(u16::MAX);
            header.extend([0x45, 0]);
            header.extend(total.to_be_bytes());
            header.extend([0, 7]);
            header.extend((fragment & 0x3fff).to_be_bytes());
            header.extend([64, protocol, 0, 0]);
            header.extend(source.octets());
            header.extend(destination.octets());
            header.extend(payload);
        }
        _ => {
            header.extend([0x86, 0xdd]);
            let (source, destination) = (v6(input), v6(input));
            let mut payload = Vec::new();
            let mut next = protocol(input);
            if kind > 13 {
                payload.extend([next, 0]);
                payload.extend(input.u16().to_be_bytes());
                payload.extend([0, 0, 0, input.u8() & 1]);
                next = 44;
            }
            payload.extend(input.bytes(len).repeat(repeat));
            let size = u16::try_from(payload.len()).unwrap_or(u16::MAX);
            header.extend([0x60, 0, 0, 0]);
            header.extend(size.to_be_bytes());
            header.extend([next, 255]);
            header.extend(source.octets());
            header.extend(destination.octets());
            header.extend(payload);
        }
    }
    header
}

fn protocol(input: &mut Input<'_>) -> u8 {
    let any = input.u8();
    input.choose(&[1, 17, 58, 6, 0, 43, 44, 60, 17, 17, any])
}

fn v4(input: &mut Input<'_>) -> Ipv4Addr {
    let any = input.u8();
    match input.u8() % 8 {
        0 => Ipv4Addr::new(192, 0, 2, any),
        1 => Ipv4Addr::UNSPECIFIED,
        2 => Ipv4Addr::BROADCAST,
        3 => Ipv4Addr::new(10, 0, 2, any),
        4 => Ipv4Addr::new(10, 0, 2, 3),
        5 => Ipv4Addr::new(10, 0, 2, 2),
        _ => Ipv4Addr::new(10, 0, 2, 15),
    }
}

fn v6(input: &mut Input<'_>) -> Ipv6Addr {
    let any = input.u8().into();
    match input.u8() % 8 {
        0 => Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, any),
        1 => Ipv6Addr::UNSPECIFIED,
        2 => Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, any & 3),
        3 => Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, any & 3),
        4 => Ipv6Addr::new(0xfd00, 0x6876, 0, 0, 0, 0, 0, any & 3),
        5 => Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2),
        _ => Ipv6Addr::new(0xfd00, 0x6876, 0, 0, 0, 0, 0, 0x15),
    }
}

fn may_be_guest(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            [a, b, c] == [10, 0, 2] && !matches!(d, 0 | 2 | 3 | 255)
        }
        IpAddr::V6(address) => {
            let prefix = address.segments()[..4] == [0xfd00, 0x6876, 0, 0] || address.is_unicast_link_local();
            let host = address.to_bits() & u128::from(u64::MAX);
            prefix && !(host == 2 || host == 3 && !address.is_unicast_link_local())
        }
    }
}

fn check_passed(bytes: &[u8]) {
    let frame = EthernetFrame::new_checked(bytes).expect("a frame");
    let (source, protocol) = match frame.ethertype() {
        EthernetProtocol::Ipv4 => {
            let packet = Ipv4Packet::new_checked(frame.payload()).expect("a packet");
            assert!(!packet.more_frags() && packet.frag_offset() == 0);
            (packet.src_addr().into(), packet.next_header())
        }
        EthernetProtocol::Ipv6 => {
            let packet = Ipv6Packet::new_checked(frame.payload()).expect("a packet");
            (packet.src_addr().into(), packet.next_header())
        }
        other => panic!("{other} passed"),
    };
    assert!(matches!(protocol, IpProtocol::Tcp | IpProtocol::Udp), "{protocol}");
    assert!(may_be_guest(source), "{source}");
}

fn check_reply(bytes: &[u8]) {
    assert!(bytes.len() <= 14 + usize::from(Frames::MTU), "{} bytes", bytes.len());
    let frame = EthernetFrame::new_checked(bytes).expect("a frame");
    assert_eq!(frame.src_addr().0, Frames::GATEWAY);
    match frame.ethertype() {
        EthernetProtocol::Arp => {
            ArpPacket::new_checked(frame.payload()).expect("a packet");
        }
        EthernetProtocol::Ipv4 => {
            let packet = Ipv4Packet::new_checked(frame.payload()).expect("a packet");
            assert!(packet.verify_checksum());
            assert_eq!(usize::from(packet.total_len()), frame.payload().len());
            if !packet.more_frags() && packet.frag_offset() == 0 {
                let (source, destination) = (packet.src_addr().into(), packet.dst_addr().into());
                check_payload(packet.next_header(), source, destination, packet.payload());
            }
        }
        EthernetProtocol::Ipv6 => {
            let packet = Ipv6Packet::new_checked(frame.payload()).expect("a packet");
            assert_eq!(packet.total_len(), frame.payload().len());
            if packet.next_header() != IpProtocol::Ipv6Frag {
                let (source, destination) = (packet.src_addr().into(), packet.dst_addr().into());
                check_payload(packet.next_header(), source, destination, packet.payload());
            }
        }
        other => panic!("{other} for the guest"),
    }
}

fn check_payload(protocol: IpProtocol, source: IpAddr, destination: IpAddr, payload: &[u8]) {
    let right = match (protocol, source, destination) {
        (IpProtocol::Icmp, ..) => Icmpv4Packet::new_checked(payload).expect("a message").verify_checksum(),
        (IpProtocol::Icmpv6, IpAddr::V6(source), IpAddr::V6(destination)) => {
            Icmpv6Packet::new_checked(payload).expect("a message").verify_checksum(&source, &destination)
        }
        (IpProtocol::Udp, ..) => {
            let datagram = UdpPacket::new_checked(payload).expect("a datagram");
            datagram.verify_checksum(&source.into(), &destination.into())
        }
        _ => panic!("{protocol} for the guest"),
    };
    assert!(right, "checksum of {protocol}");
}
