//! ARP (RFC 826): the gateway and the DNS server are here; who else is asked for is not.

use std::net::Ipv4Addr;

use smoltcp::wire::{ArpOperation, ArpPacket, ArpRepr, EthernetAddress};

use super::{
    ServicesConfig,
    ethernet::{BROADCAST, Ethernet},
    guest::Guest,
    outbox::Outbox,
};

/// Learns from an ARP packet of the guest, and answers it.
pub(super) fn handle(config: &ServicesConfig, frame: &Ethernet<'_>, guest: &mut Guest, outbox: &mut Outbox) {
    let Ok(packet) = ArpPacket::new_checked(frame.payload) else { return };
    let Ok(ArpRepr::EthernetIpv4 {
        operation,
        source_hardware_addr,
        source_protocol_addr,
        target_protocol_addr,
        ..
    }) = ArpRepr::parse(&packet)
    else {
        return;
    };
    // A probe whether an address is free comes from 0.0.0.0 (RFC 5227, 2.1.1), and is answered like any other.
    if source_hardware_addr.0 != frame.source {
        return;
    }
    guest.learn(config, frame.source, source_protocol_addr.into());
    if operation == ArpOperation::Request
        && (target_protocol_addr == config.gateway_ipv4 || target_protocol_addr == config.dns_ipv4)
    {
        let reply = ArpRepr::EthernetIpv4 {
            operation: ArpOperation::Reply,
            source_hardware_addr: EthernetAddress(config.gateway_mac),
            source_protocol_addr: target_protocol_addr,
            target_hardware_addr: source_hardware_addr,
            target_protocol_addr: source_protocol_addr,
        };
        send(frame.source, &reply, outbox);
    }
}

/// Asks who has `address`.
pub(super) fn request(config: &ServicesConfig, address: Ipv4Addr, outbox: &mut Outbox) {
    let request = ArpRepr::EthernetIpv4 {
        operation: ArpOperation::Request,
        source_hardware_addr: EthernetAddress(config.gateway_mac),
        source_protocol_addr: config.gateway_ipv4,
        target_hardware_addr: EthernetAddress([0; 6]),
        target_protocol_addr: address,
    };
    send(BROADCAST, &request, outbox);
}

fn send(to: [u8; 6], packet: &ArpRepr, outbox: &mut Outbox) {
    outbox.arp(to, packet.buffer_len(), |bytes| packet.emit(&mut ArpPacket::new_unchecked(bytes)));
}
