//! What the guest may reach: the world, but not this host, unless that is allowed.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};

use super::addresses::{GATEWAY_LINK_LOCAL, GATEWAY_V4, GATEWAY_V6, is_inside};

/// The host's address to go to for the guest's `destination`; `None` if the guest may not go there.
///
/// `host` allows this host: the gateway's address stands for its loopback, and its own addresses may be reached.
pub(crate) fn admit(destination: IpAddr, host: bool) -> Option<IpAddr> {
    match destination {
        IpAddr::V4(GATEWAY_V4) => return host.then_some(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(GATEWAY_V6 | GATEWAY_LINK_LOCAL) => return host.then_some(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    let refused = match destination {
        IpAddr::V4(address) => is_special_v4(address),
        IpAddr::V6(address) => is_special_v6(address),
    };
    (!refused && !is_inside(destination) && (host || !is_of_this_host(destination))).then_some(destination)
}

fn is_special_v4(address: Ipv4Addr) -> bool {
    // 0/8 is "this host" (RFC 6890), 240/4 is reserved.
    address.is_loopback()
        || address.is_link_local()
        || address.is_multicast()
        || matches!(address.octets()[0], 0 | 240..)
}

fn is_special_v6(address: Ipv6Addr) -> bool {
    // ::/96 and ::ffff:0:0/96 are IPv4 addresses to the host (and ::, ::1); 64:ff9b::/96 is IPv4 behind a translator.
    let inner = || {
        let [.., a, b, c, d] = address.octets();
        Ipv4Addr::new(a, b, c, d)
    };
    match address.segments() {
        [0, 0, 0, 0, 0, 0 | 0xffff, ..] => true,
        [0x64, 0xff9b, 0, 0, 0, 0, ..] => is_special_v4(inner()) || is_inside(inner().into()),
        // fe80::/10 and fec0::/10.
        [first, ..] => address.is_multicast() || first & 0xff80 == 0xfe80,
    }
}

/// Whether packets to `address` stay on this host: then the host would send them from the same address. Asks the
/// host's routes; nothing is sent.
fn is_of_this_host(address: IpAddr) -> bool {
    let any: IpAddr = match address {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let source = UdpSocket::bind((any, 0)).and_then(|socket| {
        socket.connect((address, 9))?;
        socket.local_addr()
    });
    // No route is no way to this host either. Addresses routed to the loopback interface are sent to from there.
    source.is_ok_and(|source| source.ip() == address || source.ip().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_and_special_addresses_are_refused() {
        let refused = "127.0.0.1 127.255.0.9 0.0.0.0 0.1.2.3 169.254.169.254 224.0.0.1 255.255.255.255 240.0.0.1 \
            10.0.2.2 10.0.2.3 10.0.2.15 10.0.2.255 :: ::1 ::127.0.0.1 ::ffff:127.0.0.1 ::ffff:93.184.216.34 fe80::1 \
            fe80::2 febf::1 fec0::1 ff02::1 64:ff9b::7f00:1 64:ff9b::a00:202 fd00:6876::2 fd00:6876::3 fd00:6876::99";
        for address in refused.split_whitespace() {
            assert_eq!(admit(address.parse().unwrap(), false), None, "{address}");
        }
        for address in ["127.0.0.1", "::1", "::ffff:127.0.0.1", "10.0.2.3", "169.254.169.254", "ff02::1"] {
            assert_eq!(admit(address.parse().unwrap(), true), None, "{address} where the host is allowed");
        }
    }

    #[test]
    fn the_gateway_stands_for_the_host_where_allowed() {
        assert_eq!(admit(GATEWAY_V4.into(), true), Some(Ipv4Addr::LOCALHOST.into()));
        assert_eq!(admit(GATEWAY_V6.into(), true), Some(Ipv6Addr::LOCALHOST.into()));
    }

    #[test]
    fn the_world_is_admitted() {
        // Documentation addresses: nobody has them, and this host least of all.
        for address in ["192.0.2.1", "198.51.100.7", "2001:db8::1", "64:ff9b::c000:201"] {
            let address: IpAddr = address.parse().unwrap();
            assert_eq!(admit(address, false), Some(address));
        }
    }

    #[test]
    fn this_host_is_known_by_its_own_addresses() {
        assert!(is_of_this_host(Ipv4Addr::LOCALHOST.into()));
        assert!(!is_of_this_host(Ipv4Addr::new(192, 0, 2, 1).into()));
        let Ok(socket) = UdpSocket::bind("0.0.0.0:0") else { return };
        if socket.connect("192.0.2.1:9").is_err() {
            println!("skipped: this host has no route to the world");
            return;
        }
        let own = socket.local_addr().unwrap().ip();
        assert_eq!((admit(own, false), admit(own, true)), (None, Some(own)));
    }
}
