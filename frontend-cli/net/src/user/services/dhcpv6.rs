//! DHCPv6 (RFC 8415) without addresses: an Information-request is told the DNS server.

use std::net::{IpAddr, SocketAddr};

use super::{DHCPV6_PORT, ServicesConfig, outbox::Outbox};

const INFORMATION_REQUEST: u8 = 11;
const REPLY: u8 = 7;

const CLIENT_IDENTIFIER: u16 = 1;
const SERVER_IDENTIFIER: u16 = 2;
const DNS_SERVERS: u16 = 23;

/// The longest identifier (RFC 8415, 11.1).
const MAX_IDENTIFIER: usize = 130;

/// Answers `message`, which came from port `port` of `source`.
pub(super) fn handle(
    config: &ServicesConfig,
    mac: [u8; 6],
    source: IpAddr,
    port: u16,
    message: &[u8],
    outbox: &mut Outbox,
) {
    let Some((&[INFORMATION_REQUEST, a, b, c], options)) = message.split_first_chunk::<4>() else { return };
    // DUID-LL (RFC 8415, 11.4): Ethernet is hardware type 1.
    let mut server = vec![0, 3, 0, 1];
    server.extend(config.gateway_mac);
    if find(options, SERVER_IDENTIFIER).is_some_and(|wanted| wanted != server) {
        return;
    }
    let mut reply = vec![REPLY, a, b, c];
    let mut option = |code: u16, data: &[u8]| {
        if let Ok(len) = u16::try_from(data.len()) {
            reply.extend(code.to_be_bytes());
            reply.extend(len.to_be_bytes());
            reply.extend(data);
        }
    };
    if let Some(client) = find(options, CLIENT_IDENTIFIER).filter(|client| client.len() <= MAX_IDENTIFIER) {
        option(CLIENT_IDENTIFIER, client);
    }
    option(SERVER_IDENTIFIER, &server);
    option(DNS_SERVERS, &config.dns_ipv6.octets());
    let from = SocketAddr::new(config.gateway_link_local.into(), DHCPV6_PORT);
    outbox.udp(mac, from, SocketAddr::new(source, port), &reply);
}

/// The first option `code`.
fn find(mut options: &[u8], code: u16) -> Option<&[u8]> {
    while let Some(([a, b, c, d], rest)) = options.split_first_chunk::<4>() {
        let (data, rest) = rest.split_at_checked(u16::from_be_bytes([*c, *d]).into())?;
        if u16::from_be_bytes([*a, *b]) == code {
            return Some(data);
        }
        options = rest;
    }
    None
}
