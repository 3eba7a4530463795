//! ICMP (RFC 792) and ICMPv6 (RFC 4443): pings of the gateway answered, other pings refused with a reason.

use std::net::IpAddr;

use smoltcp::wire::{
    IPV6_LINK_LOCAL_ALL_NODES, IPV6_LINK_LOCAL_ALL_ROUTERS, IPV6_MIN_MTU, Icmpv4DstUnreachable,
    Icmpv4Message, Icmpv4Packet, Icmpv4TimeExceeded, Icmpv6DstUnreachable, Icmpv6Message, Icmpv6Packet,
    Icmpv6TimeExceeded,
};

use super::{ServicesConfig, ip::Packet, outbox::Outbox};

/// Bytes before the data in echo messages and errors, of both versions.
pub(super) const HEADER: usize = 8;

/// What of an IPv4 packet comes back in an error: as much as fits in 576 bytes (RFC 1812, 4.3.2.3).
const QUOTE_V4: usize = 576 - 20 - HEADER;

/// The same for IPv6: the error fits in the smallest MTU (RFC 4443, 2.4).
const QUOTE_V6: usize = IPV6_MIN_MTU - 40 - HEADER;

/// Why a ping got no further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The host does not let `hv` ping, or `hv` does not let the guest.
    Prohibited,
    /// Nobody has the address on the link.
    NoSuchHost,
    /// The host has no route.
    NoRoute,
    /// It may not go further than the gateway.
    HopLimit,
}

impl Refusal {
    fn v4(self) -> (Icmpv4Message, u8) {
        let unreachable = |code: Icmpv4DstUnreachable| (Icmpv4Message::DstUnreachable, code.into());
        match self {
            Self::Prohibited => unreachable(Icmpv4DstUnreachable::CommProhibited),
            Self::NoSuchHost => unreachable(Icmpv4DstUnreachable::HostUnreachable),
            Self::NoRoute => unreachable(Icmpv4DstUnreachable::NetUnreachable),
            Self::HopLimit => (Icmpv4Message::TimeExceeded, Icmpv4TimeExceeded::TtlExpired.into()),
        }
    }

    fn v6(self) -> (Icmpv6Message, u8) {
        let unreachable = |code: Icmpv6DstUnreachable| (Icmpv6Message::DstUnreachable, code.into());
        match self {
            Self::Prohibited => unreachable(Icmpv6DstUnreachable::AdminProhibit),
            Self::NoSuchHost => unreachable(Icmpv6DstUnreachable::AddrUnreachable),
            Self::NoRoute => unreachable(Icmpv6DstUnreachable::NoRoute),
            Self::HopLimit => (Icmpv6Message::TimeExceeded, Icmpv6TimeExceeded::HopLimitExceeded.into()),
        }
    }
}

/// Whether `packet`, of the ICMP of its version, is a ping.
pub(super) fn is_echo_request(packet: &Packet<'_>) -> bool {
    if packet.source.is_ipv4() {
        Icmpv4Packet::new_checked(packet.payload)
            .is_ok_and(|message| message.msg_type() == Icmpv4Message::EchoRequest && message.msg_code() == 0)
    } else {
        Icmpv6Packet::new_checked(packet.payload)
            .is_ok_and(|message| message.msg_type() == Icmpv6Message::EchoRequest && message.msg_code() == 0)
    }
}

/// The address that answers a ping of `destination`, if the services have it.
pub(super) fn answers_from(config: &ServicesConfig, destination: IpAddr) -> Option<IpAddr> {
    match destination {
        IpAddr::V6(IPV6_LINK_LOCAL_ALL_NODES | IPV6_LINK_LOCAL_ALL_ROUTERS) => {
            Some(config.gateway_link_local.into())
        }
        own => config.is_own(own).then_some(own),
    }
}

/// Answers the ping `packet` from `source`.
pub(super) fn reply(mac: [u8; 6], source: IpAddr, packet: &Packet<'_>, outbox: &mut Outbox) {
    let mut message = packet.payload.to_vec();
    message[0] = echo_reply(packet.source);
    outbox.icmp(mac, source, packet.source, &mut message);
}

/// The type of an echo reply in the ICMP of `address`'s version.
pub(super) fn echo_reply(address: IpAddr) -> u8 {
    if address.is_ipv4() { Icmpv4Message::EchoReply.into() } else { Icmpv6Message::EchoReply.into() }
}

/// Tells who sent `packet` why it got no further.
pub(super) fn refuse(
    config: &ServicesConfig,
    mac: [u8; 6],
    packet: &Packet<'_>,
    refusal: Refusal,
    outbox: &mut Outbox,
) {
    let (source, kind, code, quote) = if packet.source.is_ipv4() {
        let (kind, code) = refusal.v4();
        (IpAddr::V4(config.gateway_ipv4), kind.into(), code, QUOTE_V4)
    } else {
        let (kind, code) = refusal.v6();
        (IpAddr::V6(config.gateway_ipv6), kind.into(), code, QUOTE_V6)
    };
    let mut message = vec![0; HEADER];
    (message[0], message[1]) = (kind, code);
    message.extend(&packet.bytes[..quote.min(packet.bytes.len())]);
    outbox.icmp(mac, source, packet.source, &mut message);
}
