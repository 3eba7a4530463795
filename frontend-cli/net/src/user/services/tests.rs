//! The services on frames as a guest sends them.

use std::time::Duration;

use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, DhcpMessageType, DhcpPacket, DhcpRepr, EthernetAddress, Icmpv4Packet,
    Icmpv6Packet, Ipv4Packet, NdiscRepr,
};

use super::*;
use crate::fuzzing::{self, Frames};
use ethernet::{BROADCAST, Header};
use ip::Fragment;

const MAC: [u8; 6] = [0x52, 0x54, 0, 1, 2, 3];
const GUEST: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);
const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
const DNS: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 3);
const FAR: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const GUEST6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x6876, 0, 0, 0, 0, 0, 0x15);
const GATEWAY6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x6876, 0, 0, 0, 0, 0, 2);
const LINK_LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0x5054, 0xff, 0xfe01, 0x203);
const ROUTER: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2);

fn services() -> Services {
    Services::new(fuzzing::config())
}

fn frame_with(
    hop_limit: u8,
    from: impl Into<IpAddr>,
    to: impl Into<IpAddr>,
    protocol: IpProtocol,
    payload: &[u8],
) -> Vec<u8> {
    let header = Header { source: from.into(), destination: to.into(), protocol, hop_limit };
    ethernet::frame(MAC, Frames::GATEWAY, &header, payload).unwrap()
}

fn frame(from: impl Into<IpAddr>, to: impl Into<IpAddr>, protocol: IpProtocol, payload: &[u8]) -> Vec<u8> {
    frame_with(64, from, to, protocol, payload)
}

fn udp(from: u16, to: u16, payload: &[u8]) -> Vec<u8> {
    let len = u16::try_from(8 + payload.len()).unwrap();
    [&from.to_be_bytes()[..], &to.to_be_bytes(), &len.to_be_bytes(), &[0, 0], payload].concat()
}

/// An echo request, with a checksum that is wrong.
fn ping(kind: u8, data: &[u8]) -> Vec<u8> {
    [&[kind, 0, 0, 0, 0xab, 0xcd, 0, 1], data].concat()
}

/// The packet of the next frame, whose headers and checksums are right.
fn reply(services: &mut Services) -> (Header, Vec<u8>) {
    let bytes = services.next_frame().expect("a reply");
    let frame = Ethernet::parse(&bytes).unwrap();
    assert_eq!(frame.source, Frames::GATEWAY);
    let form = match frame.protocol {
        EthernetProtocol::Ipv4 => {
            assert!(Ipv4Packet::new_checked(frame.payload).unwrap().verify_checksum());
            ip::parse_v4(frame.payload)
        }
        _ => ip::parse_v6(frame.payload),
    };
    let Some(Form::Whole(packet)) = form else { panic!("no whole packet") };
    let right = match (packet.source, packet.destination) {
        (IpAddr::V6(source), IpAddr::V6(destination)) if packet.protocol == IpProtocol::Icmpv6 => {
            Icmpv6Packet::new_checked(packet.payload).unwrap().verify_checksum(&source, &destination)
        }
        _ if packet.protocol == IpProtocol::Icmp => {
            Icmpv4Packet::new_checked(packet.payload).unwrap().verify_checksum()
        }
        (source, destination) => UdpPacket::new_checked(packet.payload)
            .unwrap()
            .verify_checksum(&source.into(), &destination.into()),
    };
    assert!(right, "checksum");
    (packet.header(), packet.payload.to_vec())
}

fn arp(operation: ArpOperation, source: Ipv4Addr, target: Ipv4Addr) -> Vec<u8> {
    let repr = ArpRepr::EthernetIpv4 {
        operation,
        source_hardware_addr: EthernetAddress(MAC),
        source_protocol_addr: source,
        target_hardware_addr: EthernetAddress([0; 6]),
        target_protocol_addr: target,
    };
    let mut bytes = ethernet::empty(MAC, BROADCAST, EthernetProtocol::Arp, repr.buffer_len());
    repr.emit(&mut ArpPacket::new_unchecked(&mut bytes[14..]));
    bytes
}

#[test]
fn arp_answers_for_gateway_and_dns_alone_and_learns() {
    let mut services = services();
    for own in [GATEWAY, DNS] {
        assert_eq!(services.handle(&arp(ArpOperation::Request, GUEST, own)), Verdict::Handled);
        let mut expected = MAC.to_vec();
        expected.extend(Frames::GATEWAY);
        expected.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 2]);
        expected.extend(Frames::GATEWAY);
        expected.extend(own.octets());
        expected.extend(MAC);
        expected.extend(GUEST.octets());
        assert_eq!(services.next_frame(), Some(expected));
    }
    for other in [GUEST, Ipv4Addr::new(10, 0, 2, 77), FAR] {
        services.handle(&arp(ArpOperation::Request, GUEST, other));
        assert_eq!(services.next_frame(), None);
    }
    assert_eq!((services.guest_mac(), services.guest_ipv4()), (Some(MAC), Some(GUEST)));
    services.handle(&arp(ArpOperation::Request, GATEWAY, DNS));
    assert_eq!(services.guest_ipv4(), Some(GUEST), "the gateway's address cannot be taken");
}

#[test]
fn a_guest_that_never_spoke_is_asked_for() {
    let mut services = services();
    services.resolve(GUEST.into());
    let request = services.next_frame().unwrap();
    assert_eq!(request[..6], BROADCAST);
    services.handle(&arp(ArpOperation::Reply, GUEST, GATEWAY));
    assert_eq!(services.guest_ipv4(), Some(GUEST));

    services.resolve(GUEST6.into());
    let (header, message) = reply(&mut services);
    assert_eq!((header.source, header.hop_limit, message[0]), (GATEWAY6.into(), 255, 135));
    assert_eq!(header.destination, "ff02::1:ff00:15".parse::<IpAddr>().unwrap());
    let (header, message) = reply(&mut services);
    assert_eq!((header.destination, message[0]), ("ff02::1".parse::<IpAddr>().unwrap(), 128));
    services.handle(&frame(GUEST6, GATEWAY6, IpProtocol::Icmpv6, &ping(129, &[])));
    assert_eq!(services.guest_ipv6(), Some(GUEST6));
}

#[test]
fn neighbour_solicitations_are_answered_for_own_addresses() {
    let mut services = services();
    let solicit =
        |target: Ipv6Addr| [&[135, 0, 0, 0, 0, 0, 0, 0][..], &target.octets(), &[1, 1], &MAC].concat();
    for own in [GATEWAY6, ROUTER, Ipv6Addr::new(0xfd00, 0x6876, 0, 0, 0, 0, 0, 3)] {
        services.handle(&frame_with(255, GUEST6, own, IpProtocol::Icmpv6, &solicit(own)));
        let (header, message) = reply(&mut services);
        assert_eq!((header.source, header.destination, header.hop_limit), (own.into(), GUEST6.into(), 255));
        assert_eq!(message[..2], [136, 0]);
        assert_eq!(message[4], 0xe0, "router, solicited, override");
        assert_eq!(message[24..], [&[2, 1], &Frames::GATEWAY[..]].concat());
    }
    services.handle(&frame_with(254, GUEST6, ROUTER, IpProtocol::Icmpv6, &solicit(ROUTER)));
    services.handle(&frame_with(255, GUEST6, GUEST6, IpProtocol::Icmpv6, &solicit(GUEST6)));
    assert_eq!(services.next_frame(), None);
}

#[test]
fn duplicate_address_detection_tells_the_guests_address_and_guards_ours() {
    let mut services = services();
    let solicit = |target: Ipv6Addr| [&[135, 0, 0, 0, 0, 0, 0, 0][..], &target.octets()].concat();
    services.handle(&frame_with(255, Ipv6Addr::UNSPECIFIED, GUEST6, IpProtocol::Icmpv6, &solicit(GUEST6)));
    assert_eq!((services.guest_ipv6(), services.next_frame()), (Some(GUEST6), None));
    services.handle(&frame_with(
        255,
        Ipv6Addr::UNSPECIFIED,
        GATEWAY6,
        IpProtocol::Icmpv6,
        &solicit(GATEWAY6),
    ));
    let (header, message) = reply(&mut services);
    assert_eq!((header.destination, message[4]), ("ff02::1".parse::<IpAddr>().unwrap(), 0xa0));
}

#[test]
fn a_router_solicitation_is_answered_with_prefix_dns_and_mtu() {
    let mut services = services();
    let solicit = [133, 0, 0, 0, 0, 0, 0, 0];
    services.handle(&frame_with(255, LINK_LOCAL, ROUTER, IpProtocol::Icmpv6, &solicit));
    let (header, message) = reply(&mut services);
    assert_eq!((header.source, header.destination), (ROUTER.into(), LINK_LOCAL.into()));
    let packet = Icmpv6Packet::new_checked(&message[..]).unwrap();
    let NdiscRepr::RouterAdvert { mtu, prefix_info: Some(prefix), router_lifetime, .. } =
        NdiscRepr::parse(&packet).unwrap()
    else {
        panic!("no advertisement");
    };
    assert_eq!((mtu, prefix.prefix_len), (Some(1500), 64));
    assert!(prefix.is_valid_prefix_info());
    assert_eq!(message[message.len() - 24..][..8], [25, 3, 0, 0, 0xff, 0xff, 0xff, 0xff]);
    assert_eq!(message[message.len() - 16..], [0xfd, 0, 0x68, 0x76, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3]);
    // A default route that was told is told again in time; none costs no timer.
    assert_eq!(services.deadline().is_some(), router_lifetime.secs() > 0);
    assert_eq!(services.guest_ipv6(), None, "a link-local address is not what forwards reach");
}

fn dhcp(kind: DhcpMessageType, change: impl FnOnce(&mut DhcpRepr<'_>)) -> Vec<u8> {
    let mut repr = DhcpRepr {
        message_type: kind,
        transaction_id: 0x0102_0304,
        secs: 0,
        client_hardware_address: EthernetAddress(MAC),
        client_ip: Ipv4Addr::UNSPECIFIED,
        your_ip: Ipv4Addr::UNSPECIFIED,
        server_ip: Ipv4Addr::UNSPECIFIED,
        router: None,
        subnet_mask: None,
        relay_agent_ip: Ipv4Addr::UNSPECIFIED,
        broadcast: false,
        requested_ip: None,
        client_identifier: Some(EthernetAddress(MAC)),
        server_identifier: None,
        parameter_request_list: None,
        dns_servers: None,
        max_size: None,
        lease_duration: None,
        renew_duration: None,
        rebind_duration: None,
        additional_options: &[],
    };
    change(&mut repr);
    let mut message = vec![0; repr.buffer_len()];
    repr.emit(&mut DhcpPacket::new_unchecked(&mut message[..])).unwrap();
    let header = Header {
        source: repr.client_ip.into(),
        destination: Ipv4Addr::BROADCAST.into(),
        protocol: IpProtocol::Udp,
        hop_limit: 64,
    };
    ethernet::frame(MAC, BROADCAST, &header, &udp(68, 67, &message)).unwrap()
}

/// The DHCP message of the next frame: to whom, its type, `yiaddr`, and the options by number.
fn dhcp_reply(services: &mut Services) -> (IpAddr, DhcpMessageType, Ipv4Addr, Vec<(u8, Vec<u8>)>) {
    let (header, datagram) = reply(services);
    assert_eq!(datagram[..4], [0, 67, 0, 68]);
    assert!(datagram.len() >= 308);
    let packet = DhcpPacket::new_checked(&datagram[8..]).unwrap();
    let repr = DhcpRepr::parse(&packet).unwrap();
    assert_eq!((repr.transaction_id, repr.server_identifier), (0x0102_0304, Some(GATEWAY)));
    let options = packet.options().map(|option| (option.kind, option.data.to_vec())).collect();
    (header.destination, repr.message_type, repr.your_ip, options)
}

#[test]
fn dhcp_leases_one_address_with_all_that_a_guest_needs() {
    let mut services = services();
    services.handle(&dhcp(DhcpMessageType::Discover, |_| {}));
    let (to, kind, address, options) = dhcp_reply(&mut services);
    assert_eq!((to, kind, address), (GUEST.into(), DhcpMessageType::Offer, GUEST));
    let expected: [(u8, &[u8]); 10] = [
        (1, &[255, 255, 255, 0]),
        (3, &GATEWAY.octets()),
        (6, &DNS.octets()),
        (12, b"guest"),
        (26, &1500_u16.to_be_bytes()),
        (28, &[10, 0, 2, 255]),
        (51, &86_400_u32.to_be_bytes()),
        (58, &43_200_u32.to_be_bytes()),
        (59, &75_600_u32.to_be_bytes()),
        (61, &[&[1], &MAC[..]].concat()),
    ];
    for (kind, data) in expected {
        assert!(options.contains(&(kind, data.to_vec())), "option {kind}: {options:?}");
    }
    assert_eq!(services.guest_ipv4(), None);
    services.handle(&dhcp(DhcpMessageType::Request, |request| {
        (request.requested_ip, request.server_identifier, request.broadcast) =
            (Some(GUEST), Some(GATEWAY), true);
    }));
    let (to, kind, address, _) = dhcp_reply(&mut services);
    assert_eq!((to, kind, address), (Ipv4Addr::BROADCAST.into(), DhcpMessageType::Ack, GUEST));
    assert_eq!((services.guest_mac(), services.guest_ipv4()), (Some(MAC), Some(GUEST)));
    services.handle(&dhcp(DhcpMessageType::Request, |request| request.client_ip = GUEST));
    assert_eq!(dhcp_reply(&mut services).1, DhcpMessageType::Ack);
    services.handle(&dhcp(DhcpMessageType::Release, |release| release.client_ip = GUEST));
    assert_eq!((services.next_frame(), services.guest_ipv4()), (None, None));
}

#[test]
fn dhcp_refuses_another_address_and_keeps_out_of_other_servers_business() {
    let mut services = services();
    let other = Ipv4Addr::new(192, 168, 1, 5);
    services.handle(&dhcp(DhcpMessageType::Request, |request| request.requested_ip = Some(other)));
    let (to, kind, address, options) = dhcp_reply(&mut services);
    assert_eq!((to, kind), (Ipv4Addr::BROADCAST.into(), DhcpMessageType::Nak));
    assert!(address.is_unspecified() && !options.iter().any(|(kind, _)| *kind == 51));
    services.handle(&dhcp(DhcpMessageType::Request, |request| request.server_identifier = Some(other)));
    assert_eq!(services.next_frame(), None);
    let own = Ipv4Addr::new(10, 0, 2, 40);
    services.handle(&dhcp(DhcpMessageType::Inform, |inform| inform.client_ip = own));
    let (to, kind, address, options) = dhcp_reply(&mut services);
    assert_eq!((to, kind), (own.into(), DhcpMessageType::Ack));
    assert!(address.is_unspecified() && !options.iter().any(|(kind, _)| *kind == 51));
}

#[test]
fn dhcpv6_tells_the_dns_server() {
    let mut services = services();
    let message = [11, 1, 2, 3, 0, 1, 0, 2, 8, 9];
    let to: Ipv6Addr = "ff02::1:2".parse().unwrap();
    services.handle(&frame(LINK_LOCAL, to, IpProtocol::Udp, &udp(546, 547, &message)));
    let (header, datagram) = reply(&mut services);
    assert_eq!((header.source, header.destination), (ROUTER.into(), LINK_LOCAL.into()));
    assert_eq!(datagram[8..18], [7, 1, 2, 3, 0, 1, 0, 2, 8, 9]);
    assert!(datagram.ends_with(&[0, 23, 0, 16, 0xfd, 0, 0x68, 0x76, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3]));
}

#[test]
fn pings_of_the_gateway_are_answered_and_others_refused() {
    let mut services = services();
    services.handle(&frame(GUEST, GATEWAY, IpProtocol::Icmp, &ping(8, b"data")));
    let (header, message) = reply(&mut services);
    assert_eq!((header.source, header.destination), (GATEWAY.into(), GUEST.into()));
    assert_eq!((message[0], &message[4..]), (0, &[0xab, 0xcd, 0, 1, b'd', b'a', b't', b'a'][..]));
    services.handle(&frame(GUEST6, GATEWAY6, IpProtocol::Icmpv6, &ping(128, b"data")));
    assert_eq!(reply(&mut services).1[0], 129);

    let refused = |services: &mut Services, frame: &[u8]| {
        services.handle(frame);
        let (header, message) = reply(services);
        assert_eq!(message[8..], frame[14..]);
        (header.source, message[0], message[1])
    };
    let far6: Ipv6Addr = "2001:db8::1".parse().unwrap();
    let far = frame(GUEST, FAR, IpProtocol::Icmp, &ping(8, b"x"));
    assert_eq!(refused(&mut services, &far), (GATEWAY.into(), 3, 13));
    let far = frame(GUEST6, far6, IpProtocol::Icmpv6, &ping(128, b"x"));
    assert_eq!(refused(&mut services, &far), (GATEWAY6.into(), 1, 1));
    let near = frame(GUEST, Ipv4Addr::new(10, 0, 2, 9), IpProtocol::Icmp, &ping(8, b"x"));
    assert_eq!(refused(&mut services, &near), (GATEWAY.into(), 3, 1));
    let last = frame_with(1, GUEST, FAR, IpProtocol::Icmp, &ping(8, b"x"));
    assert_eq!(refused(&mut services, &last), (GATEWAY.into(), 11, 0));
    for silent in [Ipv4Addr::BROADCAST, Ipv4Addr::LOCALHOST, Ipv4Addr::new(10, 0, 2, 255)] {
        services.handle(&frame(GUEST, silent, IpProtocol::Icmp, &ping(8, b"x")));
        assert_eq!(services.next_frame(), None);
    }
}

#[test]
fn pings_beyond_go_by_the_hosts_sockets_where_it_has_them() {
    let mut config = fuzzing::config();
    config.may_ping = Box::new(|address| address == IpAddr::from(FAR));
    let mut services = Services::new(config);
    let mut poll = mio::Poll::new().unwrap();
    services.start(poll.registry()).unwrap();
    // The rule forbids what this host would answer; a flow to it by hand shows the way there and back.
    let packet = frame(GUEST, Ipv4Addr::LOCALHOST, IpProtocol::Icmp, &ping(8, b"there"));
    let Some(Form::Whole(packet)) = ip::parse_v4(&packet[14..]) else { panic!("no packet") };
    let registry = services.registry.as_ref();
    if let Err(refusal) = services.echo.request(MAC, &packet, Instant::now(), registry) {
        println!("skipped: this host gives no sockets for pings: {refusal:?}");
        return;
    }
    let mut events = mio::Events::with_capacity(4);
    let frame = loop {
        poll.poll(&mut events, Some(Duration::from_secs(20))).unwrap();
        assert!(!events.is_empty(), "no answer");
        events.iter().for_each(|event| services.wake(event.token()));
        if !services.outbox.is_empty() {
            break reply(&mut services);
        }
    };
    assert_eq!((frame.0.source, frame.0.destination), (Ipv4Addr::LOCALHOST.into(), GUEST.into()));
    assert_eq!((frame.1[0], &frame.1[4..]), (0, &ping(8, b"there")[4..]));
    let end = services.deadline().unwrap();
    services.tick(end);
    assert_eq!(services.deadline(), None);
}

#[test]
fn tcp_and_udp_of_the_guest_pass_and_nothing_else_does() {
    let mut services = services();
    for protocol in [IpProtocol::Tcp, IpProtocol::Udp] {
        let pass = |services: &mut Services, from: Ipv4Addr, to: Ipv4Addr| {
            services.handle(&frame(from, to, protocol, &udp(1000, 80, &[0; 12]))) == Verdict::Pass(None)
        };
        assert!(pass(&mut services, GUEST, FAR) && pass(&mut services, GUEST, GATEWAY));
        for source in [GATEWAY, DNS, FAR, Ipv4Addr::UNSPECIFIED, Ipv4Addr::new(10, 0, 2, 255)] {
            assert!(!pass(&mut services, source, FAR), "{source}");
        }
        for to in [Ipv4Addr::LOCALHOST, Ipv4Addr::BROADCAST, Ipv4Addr::new(224, 0, 0, 251)] {
            assert!(!pass(&mut services, GUEST, to), "{to}");
        }
    }
    let tcp = frame(GUEST, DNS, IpProtocol::Tcp, &udp(1000, 53, &[0; 12]));
    assert_eq!(services.handle(&tcp), Verdict::Pass(None), "DNS over TCP is the NAT's");
    let mut other = frame(GUEST, FAR, IpProtocol::Tcp, &[0; 20]);
    other[5] ^= 1;
    assert_eq!(services.handle(&other), Verdict::Handled, "it is for another station");
    let igmp = frame(GUEST, FAR, IpProtocol::Igmp, &[0; 8]);
    assert_eq!(services.handle(&igmp), Verdict::Handled);
}

#[test]
fn extension_headers_are_taken_off() {
    let mut services = services();
    let far: Ipv6Addr = "2001:db8::1".parse().unwrap();
    let datagram = udp(1000, 80, b"data");
    let extended = [&[17, 0, 1, 4, 0, 0, 0, 0][..], &datagram].concat();
    let plain = frame(GUEST6, far, IpProtocol::Udp, &datagram);
    let verdict = services.handle(&frame(GUEST6, far, IpProtocol::HopByHop, &extended));
    assert_eq!(verdict, Verdict::Pass(Some(plain)));
}

#[test]
fn dns_without_a_resolver_fails_at_once() {
    let mut services = services();
    let query = [0, 9, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, b'x', 0, 0, 1, 0, 1];
    assert_eq!(
        services.handle(&frame(GUEST, DNS, IpProtocol::Udp, &udp(1000, 53, &query))),
        Verdict::Handled
    );
    let (header, datagram) = reply(&mut services);
    assert_eq!((header.source, header.destination), (DNS.into(), GUEST.into()));
    assert_eq!(datagram[..4], [0, 53, 3, 232]);
    assert_eq!(datagram[8..12], [0, 9, 0x81, 0x82]);
    assert_eq!(services.resolver(), None);
}

#[test]
fn long_answers_are_cut_and_fragments_of_the_guest_put_together() {
    let mut services = services();
    let data: Vec<u8> = (0..60_000_u32).map(|at| at.to_le_bytes()[0]).collect();
    for (from, to, protocol, kind) in [
        (IpAddr::from(GUEST), IpAddr::from(GATEWAY), IpProtocol::Icmp, 8),
        (GUEST6.into(), GATEWAY6.into(), IpProtocol::Icmpv6, 128),
    ] {
        // One ping in one frame, as if segmentation were left to the host; its answer comes in fragments.
        let message = ping(kind, &data);
        services.handle(&frame(from, to, protocol, &message));
        let cut: Vec<_> = std::iter::from_fn(|| services.next_frame()).collect();
        assert!(cut.len() > 40 && cut.iter().all(|frame| frame.len() <= 1514));
        let mut reassembly = Reassembly::default();
        let mut whole = None;
        for bytes in cut.iter().rev() {
            assert!(whole.is_none());
            let form = if from.is_ipv4() { ip::parse_v4(&bytes[14..]) } else { ip::parse_v6(&bytes[14..]) };
            let Some(Form::Fragment(fragment)) = form else { panic!("no fragment") };
            whole = reassembly.insert(&fragment, Instant::now());
        }
        let (header, answer) = whole.expect("all fragments");
        assert_eq!((header.source, header.destination, header.protocol), (to, from, protocol));
        assert_eq!(answer[4..], message[4..]);
        assert_eq!(reassembly.deadline(), None);
    }
}

#[test]
fn a_datagram_in_fragments_passes_as_one() {
    let mut services = services();
    let datagram = udp(1000, 80, &[7; 3000]);
    let whole = frame(GUEST, FAR, IpProtocol::Udp, &datagram);
    for (index, part) in datagram.chunks(1480).enumerate() {
        let mut bytes = frame(GUEST, FAR, IpProtocol::Udp, part);
        let mut packet = Ipv4Packet::new_unchecked(&mut bytes[14..]);
        packet.set_ident(5);
        packet.set_frag_offset(u16::try_from(index * 1480).unwrap());
        packet.set_more_frags(index < 2);
        packet.set_dont_frag(false);
        packet.fill_checksum();
        let verdict = services.handle(&bytes);
        assert_eq!(verdict, if index < 2 { Verdict::Handled } else { Verdict::Pass(Some(whole.clone())) });
    }
}

fn fragment(identification: u32, offset: usize, more: bool, data: &[u8]) -> Fragment<'_> {
    let header =
        Header { source: GUEST.into(), destination: FAR.into(), protocol: IpProtocol::Udp, hop_limit: 64 };
    Fragment { header, identification, offset, more, data }
}

#[test]
fn fragments_that_overlap_break_their_datagram_and_repeated_ones_do_not() {
    let now = Instant::now();
    let mut reassembly = Reassembly::default();
    let mut insert =
        |offset, more, data: &[u8]| reassembly.insert(&fragment(1, offset, more, data), now).is_some();
    assert!(!insert(0, true, &[1; 16]) && !insert(0, true, &[1; 16]) && !insert(8, true, &[1; 8]));
    assert!(insert(16, false, &[2; 3]));
    assert!(!insert(0, true, &[1; 16]) && !insert(8, true, &[2; 16]) && !insert(16, false, &[2; 3]));
    assert!(reassembly.deadline().is_some(), "the rest of it is thrown away too");
    reassembly.tick(now + Duration::from_secs(30));
    assert_eq!(reassembly.deadline(), None);
    for (offset, more, len) in [(65_512, false, 8), (0, true, 7), (8, true, 0)] {
        let mut reassembly = Reassembly::default();
        assert!(reassembly.insert(&fragment(1, offset, more, &[0; 8][..len]), now).is_none());
        assert!(reassembly.insert(&fragment(1, 0, true, &[0; 8]), now).is_none());
        assert!(reassembly.insert(&fragment(1, 8, false, &[0; 8]), now).is_none(), "{offset} {more} {len}");
    }
}

#[test]
fn at_most_eight_datagrams_wait_for_fragments() {
    let now = Instant::now();
    let mut reassembly = Reassembly::default();
    for identification in 0..9 {
        reassembly.insert(&fragment(identification, 0, true, &[0; 8]), now);
    }
    assert!(reassembly.insert(&fragment(0, 8, false, &[0; 8]), now).is_none(), "it gave way");
    assert!(reassembly.insert(&fragment(8, 8, false, &[0; 8]), now).is_some());
}

#[test]
fn the_queue_to_the_guest_is_bounded() {
    let mut services = services();
    for _ in 0..2000 {
        services.handle(&arp(ArpOperation::Request, GUEST, GATEWAY));
    }
    assert_eq!(std::iter::from_fn(|| services.next_frame()).count(), 512);
}

#[test]
fn nothing_is_left_when_the_driver_is_gone() {
    let mut services = services();
    let poll = mio::Poll::new().unwrap();
    services.start(poll.registry()).unwrap();
    services.handle(&arp(ArpOperation::Request, GUEST, GATEWAY));
    let solicit = [133, 0, 0, 0, 0, 0, 0, 0];
    services.handle(&frame_with(255, LINK_LOCAL, ROUTER, IpProtocol::Icmpv6, &solicit));
    let mut part = frame(GUEST, FAR, IpProtocol::Udp, &[0; 8]);
    Ipv4Packet::new_unchecked(&mut part[14..]).set_more_frags(true);
    services.handle(&part);
    assert!(services.deadline().is_some());
    services.stop(poll.registry());
    assert_eq!((services.next_frame(), services.guest_mac(), services.deadline()), (None, None, None));
}
