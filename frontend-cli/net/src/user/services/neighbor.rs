//! Neighbour discovery (RFC 4861): who has an address, and what a guest must know to choose its own.

use std::{
    net::{IpAddr, Ipv6Addr, UdpSocket},
    time::{Duration, Instant},
};

use smoltcp::{
    time::Duration as WireDuration,
    wire::{
        EthernetAddress, IPV6_LINK_LOCAL_ALL_NODES, IPV6_MIN_MTU, Icmpv6Message, Icmpv6Packet,
        NdiscNeighborFlags, NdiscPrefixInfoFlags, NdiscPrefixInformation, NdiscRepr, NdiscRouterFlags,
    },
};

use super::{
    ServicesConfig, config::IPV6_PREFIX_LEN, ethernet::group, guest::Guest, ip::Packet, outbox::Outbox,
};
use crate::user::icmp;

/// What is not from this very link has a lower one (RFC 4861, 6.1.1 and 7.1.1).
const HOP_LIMIT: u8 = 255;

/// How long the default route holds without another advertisement: the most that a guest believes (RFC 4861, 6.2.1
/// allows 9000 seconds, RFC 8319 all that the field has).
const ROUTER_LIFETIME: u16 = u16::MAX;

/// When a default route that was advertised is advertised again: three times before it ends.
const REFRESH: Duration = Duration::from_secs(5 * 60 * 60);

/// A lifetime without end, in seconds.
const FOREVER: u32 = u32::MAX;

/// The option that names DNS servers (RFC 8106, 5.1).
const RDNSS: u8 = 25;

/// An address beyond, for which the host is asked if it has a route; nothing is sent there.
const FAR_ADDRESS: Ipv6Addr = Ipv6Addr::new(0x2001, 0x500, 0x2f, 0, 0, 0, 0, 0xf);

/// Whether `packet`, of ICMPv6, is neighbour discovery.
pub(super) fn concerns(packet: &Packet<'_>) -> bool {
    Icmpv6Packet::new_checked(packet.payload).is_ok_and(|packet| packet.msg_type().is_ndisc())
}

/// The router that the guest sees.
#[derive(Default)]
pub(super) struct Router {
    /// When the default route is advertised again; there is none if it was not advertised.
    refresh: Option<Instant>,
}

impl Router {
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.refresh
    }

    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.refresh.is_some_and(|refresh| refresh <= now)
    }

    /// Answers solicitations of the guest, and learns from what it says.
    pub(super) fn handle(
        &mut self,
        config: &ServicesConfig,
        mac: [u8; 6],
        packet: &Packet<'_>,
        now: Instant,
        guest: &mut Guest,
        outbox: &mut Outbox,
    ) {
        let Ok(message) = Icmpv6Packet::new_checked(packet.payload) else { return };
        if packet.hop_limit != HOP_LIMIT || message.msg_code() != 0 {
            return;
        }
        let Ok(repr) = NdiscRepr::parse(&message) else { return };
        // Who has no address yet asks from the unspecified one.
        if !packet.source.is_unspecified() && !config.may_be_guest(packet.source) {
            return;
        }
        guest.learn(config, mac, packet.source);
        match repr {
            NdiscRepr::NeighborSolicit { target_addr, .. } if config.is_own(target_addr.into()) => {
                advertise_neighbor(config, mac, packet.source, target_addr, outbox);
            }
            // It looks whether the address that it wants is free (RFC 4862, 5.4): it is.
            NdiscRepr::NeighborSolicit { target_addr, .. } if packet.source.is_unspecified() => {
                guest.learn(config, mac, target_addr.into());
            }
            NdiscRepr::NeighborAdvert { target_addr, .. } => guest.learn(config, mac, target_addr.into()),
            NdiscRepr::RouterSolicit { .. } if packet.source.is_unspecified() => {
                self.advertise_to_all(config, now, outbox);
            }
            NdiscRepr::RouterSolicit { .. } => self.advertise(config, mac, packet.source, now, outbox),
            _ => {}
        }
    }

    /// Tells all nodes of the router, the prefix and the DNS server.
    pub(super) fn advertise_to_all(&mut self, config: &ServicesConfig, now: Instant, outbox: &mut Outbox) {
        let to = IPV6_LINK_LOCAL_ALL_NODES;
        self.advertise(config, group(to), to.into(), now, outbox);
    }

    fn advertise(
        &mut self,
        config: &ServicesConfig,
        mac: [u8; 6],
        to: IpAddr,
        now: Instant,
        outbox: &mut Outbox,
    ) {
        // A smaller MTU is none for IPv6 (RFC 8200, 5).
        if usize::from(config.mtu) < IPV6_MIN_MTU {
            return;
        }
        let routes = host_has_ipv6();
        self.refresh = routes.then(|| now + REFRESH);
        let lifetime = if routes { ROUTER_LIFETIME } else { 0 };
        let mut message = advertisement(config, lifetime);
        outbox.icmp_with(mac, config.gateway_link_local.into(), to, HOP_LIMIT, &mut message);
    }
}

/// Whether the host has a route to the IPv6 Internet.
fn host_has_ipv6() -> bool {
    let socket = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0));
    socket.and_then(|socket| socket.connect((FAR_ADDRESS, 53))).is_ok()
}

/// A router advertisement that says the router is one for `lifetime` seconds; the prefix and the DNS server always hold.
fn advertisement(config: &ServicesConfig, lifetime: u16) -> Vec<u8> {
    let forever = WireDuration::from_secs(FOREVER.into());
    let repr = NdiscRepr::RouterAdvert {
        hop_limit: 64,
        flags: NdiscRouterFlags::empty(),
        router_lifetime: WireDuration::from_secs(lifetime.into()),
        reachable_time: WireDuration::ZERO,
        retrans_time: WireDuration::ZERO,
        lladdr: Some(EthernetAddress(config.gateway_mac).into()),
        mtu: Some(config.mtu.into()),
        prefix_info: Some(NdiscPrefixInformation {
            prefix_len: IPV6_PREFIX_LEN,
            flags: NdiscPrefixInfoFlags::ON_LINK | NdiscPrefixInfoFlags::ADDRCONF,
            valid_lifetime: forever,
            preferred_lifetime: forever,
            prefix: config.ipv6_prefix,
        }),
    };
    let mut message = emit(&repr);
    message.extend([RDNSS, 3, 0, 0]);
    message.extend(FOREVER.to_be_bytes());
    message.extend(config.dns_ipv6.octets());
    message
}

/// Says that `target` is here. Who asked from the unspecified address is told as one of all nodes (RFC 4861, 7.2.4).
fn advertise_neighbor(
    config: &ServicesConfig,
    mac: [u8; 6],
    to: IpAddr,
    target: Ipv6Addr,
    outbox: &mut Outbox,
) {
    let mut flags = NdiscNeighborFlags::ROUTER | NdiscNeighborFlags::OVERRIDE;
    let (mac, to) = if to.is_unspecified() {
        (group(IPV6_LINK_LOCAL_ALL_NODES), IPV6_LINK_LOCAL_ALL_NODES.into())
    } else {
        flags |= NdiscNeighborFlags::SOLICITED;
        (mac, to)
    };
    let lladdr = Some(EthernetAddress(config.gateway_mac).into());
    let mut message = emit(&NdiscRepr::NeighborAdvert { flags, target_addr: target, lladdr });
    outbox.icmp_with(mac, target.into(), to, HOP_LIMIT, &mut message);
}

/// Asks who has `address`.
pub(super) fn solicit(config: &ServicesConfig, address: Ipv6Addr, outbox: &mut Outbox) {
    let [.., a, b, c] = address.octets();
    // The group of all nodes whose address ends so (RFC 4291, 2.7.1).
    let to = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | u16::from(a), u16::from_be_bytes([b, c]));
    let lladdr = Some(EthernetAddress(config.gateway_mac).into());
    let mut message = emit(&NdiscRepr::NeighborSolicit { target_addr: address, lladdr });
    outbox.icmp_with(group(to), config.gateway_ipv6.into(), to.into(), HOP_LIMIT, &mut message);
}

/// Pings all nodes; who answers does so from an address in the prefix.
pub(super) fn ask_all(config: &ServicesConfig, outbox: &mut Outbox) {
    let to = IPV6_LINK_LOCAL_ALL_NODES;
    let mut message = [0; icmp::HEADER];
    message[0] = Icmpv6Message::EchoRequest.into();
    outbox.icmp(group(to), config.gateway_ipv6.into(), to.into(), &mut message);
}

fn emit(repr: &NdiscRepr<'_>) -> Vec<u8> {
    let mut message = vec![0; repr.buffer_len()];
    repr.emit(&mut Icmpv6Packet::new_unchecked(&mut message[..]));
    message
}
