//! DHCP (RFC 2131): one lease, always the same.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use smoltcp::wire::{
    DHCP_CLIENT_PORT, DHCP_SERVER_PORT, DhcpMessageType, DhcpOption, DhcpPacket, DhcpRepr, EthernetAddress,
};

use super::{ServicesConfig, ethernet::BROADCAST, guest::Guest, outbox::Outbox};

/// Seconds for which an address is given; guests ask again after half of it.
const LEASE: u32 = 24 * 60 * 60;

/// Some clients want no less (RFC 1542, 2.1).
const SHORTEST_MESSAGE: usize = 300;

/// What the longest reply has beside [`SHORTEST_MESSAGE`]: a host name, a client identifier.
const LONGEST_MESSAGE: usize = SHORTEST_MESSAGE + 2 * 257;

/// The longest host name that is passed on (RFC 1035, 2.3.4).
const MAX_HOST_NAME: usize = 63;

// Options (RFC 2132; RFC 6842 for the client identifier in replies).
const HOST_NAME: u8 = 12;
const INTERFACE_MTU: u8 = 26;
const BROADCAST_ADDRESS: u8 = 28;
const RENEWAL_TIME: u8 = 58;
const REBINDING_TIME: u8 = 59;
const CLIENT_IDENTIFIER: u8 = 61;

/// Answers the DHCP message in `bytes`, which came from `mac`.
pub(super) fn handle(
    config: &ServicesConfig,
    mac: [u8; 6],
    bytes: &[u8],
    guest: &mut Guest,
    outbox: &mut Outbox,
) {
    let Ok(packet) = DhcpPacket::new_checked(bytes) else { return };
    let Ok(request) = DhcpRepr::parse(&packet) else { return };
    // There is no relay on this link, and nobody asks for another.
    if !request.relay_agent_ip.is_unspecified() || request.client_hardware_address.0 != mac {
        return;
    }
    let for_others = request.server_identifier.is_some_and(|server| server != config.gateway_ipv4);
    let kind = match request.message_type {
        DhcpMessageType::Discover => DhcpMessageType::Offer,
        DhcpMessageType::Inform => DhcpMessageType::Ack,
        DhcpMessageType::Request if for_others => return,
        DhcpMessageType::Request => {
            // What it wants is in the option, or in its address when it renews (RFC 2131, 4.3.2).
            let wanted = request.requested_ip.unwrap_or(request.client_ip);
            if wanted == config.guest_ipv4 { DhcpMessageType::Ack } else { DhcpMessageType::Nak }
        }
        DhcpMessageType::Release => {
            if guest.ipv4 == Some(request.client_ip) {
                guest.ipv4 = None;
            }
            return;
        }
        _ => return,
    };
    let leases = request.message_type != DhcpMessageType::Inform && kind != DhcpMessageType::Nak;
    if kind == DhcpMessageType::Ack {
        let address = if leases { config.guest_ipv4 } else { request.client_ip };
        guest.learn(config, mac, address.into());
    }
    let identifier = packet.options().find(|option| option.kind == CLIENT_IDENTIFIER);
    let Some(message) = reply(config, &request, kind, leases, identifier) else { return };
    let (mac, to) = destination(config, mac, &request, kind);
    let from = SocketAddr::new(config.gateway_ipv4.into(), DHCP_SERVER_PORT);
    outbox.udp(mac, from, SocketAddr::new(to.into(), DHCP_CLIENT_PORT), &message);
}

/// Where the reply goes (RFC 2131, 4.1).
fn destination(
    config: &ServicesConfig,
    mac: [u8; 6],
    request: &DhcpRepr<'_>,
    kind: DhcpMessageType,
) -> ([u8; 6], Ipv4Addr) {
    if kind == DhcpMessageType::Nak {
        (BROADCAST, Ipv4Addr::BROADCAST)
    } else if config.may_be_guest(IpAddr::V4(request.client_ip)) {
        (mac, request.client_ip)
    } else if request.broadcast {
        (BROADCAST, Ipv4Addr::BROADCAST)
    } else {
        (mac, config.guest_ipv4)
    }
}

fn reply(
    config: &ServicesConfig,
    request: &DhcpRepr<'_>,
    kind: DhcpMessageType,
    leases: bool,
    identifier: Option<DhcpOption<'_>>,
) -> Option<Vec<u8>> {
    let (mtu, broadcast) = (config.mtu.to_be_bytes(), config.ipv4_broadcast().octets());
    let (renewal, rebinding) = ((LEASE / 2).to_be_bytes(), (LEASE / 8 * 7).to_be_bytes());
    let host_name = config.host_name.as_deref().map(str::as_bytes);
    let host_name = host_name.filter(|name| (1..=MAX_HOST_NAME).contains(&name.len()));
    let refused = kind == DhcpMessageType::Nak;
    let mut options = Vec::new();
    let mut option = |kind, data| options.push(DhcpOption { kind, data });
    if !refused {
        option(INTERFACE_MTU, &mtu[..]);
        option(BROADCAST_ADDRESS, &broadcast);
        if let Some(name) = host_name {
            option(HOST_NAME, name);
        }
    }
    if leases {
        option(RENEWAL_TIME, &renewal);
        option(REBINDING_TIME, &rebinding);
    }
    options.extend(identifier);
    let given = leases.then_some(config.guest_ipv4);
    let repr = DhcpRepr {
        message_type: kind,
        transaction_id: request.transaction_id,
        secs: 0,
        client_hardware_address: EthernetAddress(request.client_hardware_address.0),
        client_ip: if refused { Ipv4Addr::UNSPECIFIED } else { request.client_ip },
        your_ip: given.unwrap_or(Ipv4Addr::UNSPECIFIED),
        server_ip: Ipv4Addr::UNSPECIFIED,
        router: (!refused).then_some(config.gateway_ipv4),
        subnet_mask: (!refused).then(|| Ipv4Addr::from_bits(config.ipv4_mask())),
        relay_agent_ip: Ipv4Addr::UNSPECIFIED,
        broadcast: request.broadcast,
        requested_ip: None,
        client_identifier: None,
        server_identifier: Some(config.gateway_ipv4),
        parameter_request_list: None,
        dns_servers: (!refused).then(|| [config.dns_ipv4].into_iter().collect()),
        max_size: None,
        lease_duration: leases.then_some(LEASE),
        renew_duration: None,
        rebind_duration: None,
        additional_options: &options,
    };
    let mut message = vec![0; LONGEST_MESSAGE];
    let len = repr.buffer_len().max(SHORTEST_MESSAGE);
    repr.emit(&mut DhcpPacket::new_unchecked(&mut message[..])).ok()?;
    message.truncate(len);
    Some(message)
}
