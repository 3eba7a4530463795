//! Pings (RFC 792, RFC 4443): those of the gateway answered, others refused with a reason.

use std::net::IpAddr;

use smoltcp::wire::{
    IPV6_LINK_LOCAL_ALL_NODES, IPV6_LINK_LOCAL_ALL_ROUTERS, IPV6_MIN_MTU, Icmpv4Message, Icmpv4Packet,
    Icmpv6Message, Icmpv6Packet,
};

use super::{ServicesConfig, ip::Packet, outbox::Outbox};
use crate::user::icmp::{self, HEADER, Reason};

/// What of an IPv4 packet comes back in an error: as much as fits in 576 bytes (RFC 1812, 4.3.2.3).
const QUOTE_V4: usize = 576 - 20 - HEADER;

/// The same for IPv6: the error fits in the smallest MTU (RFC 4443, 2.4).
const QUOTE_V6: usize = IPV6_MIN_MTU - 40 - HEADER;

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
    reason: Reason,
    outbox: &mut Outbox,
) {
    let (source, quote) = match packet.source {
        IpAddr::V4(_) => (IpAddr::V4(config.gateway_ipv4), QUOTE_V4),
        IpAddr::V6(_) => (IpAddr::V6(config.gateway_ipv6), QUOTE_V6),
    };
    let quoted = &packet.bytes[..quote.min(packet.bytes.len())];
    outbox.icmp(mac, source, packet.source, &mut icmp::error(reason, packet.source, quoted));
}
