//! The addresses of the user network, the same in each guest.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The IPv4 network.
pub const NETWORK_V4: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 0);

/// The bits of [`NETWORK_V4`].
pub const PREFIX_V4: u8 = 24;

/// The guest's IPv4 address, by DHCP and by the agent.
pub const GUEST_V4: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);

/// The gateway, which also stands for the host where the guest may reach it.
pub const GATEWAY_V4: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);

/// The name server.
pub const DNS_V4: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 3);

/// The IPv6 network.
pub const NETWORK_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x6876, 0, 0, 0, 0, 0, 0);

/// The bits of [`NETWORK_V6`].
pub const PREFIX_V6: u8 = 64;

/// The guest's IPv6 address where it does not make one of its own.
pub const GUEST_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x6876, 0, 0, 0, 0, 0, 0x15);

/// The gateway, which also stands for the host where the guest may reach it.
pub const GATEWAY_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x6876, 0, 0, 0, 0, 0, 2);

/// The gateway on the link, as router advertisements name it.
pub const GATEWAY_LINK_LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2);

/// The name server.
pub const DNS_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x6876, 0, 0, 0, 0, 0, 3);

/// The MAC address of the gateway and of all that is behind it.
pub const GATEWAY_MAC: [u8; 6] = [0x52, 0x55, 0x0a, 0x00, 0x02, 0x02];

/// The MTU of the network: the longest IP packet in one frame, if segmentation is not left to the guest.
pub const MTU: u16 = 1500;

/// Whether `address` lies in one of the network's prefixes.
pub(crate) fn is_inside(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.octets()[..3] == NETWORK_V4.octets()[..3],
        IpAddr::V6(address) => address.segments()[..4] == NETWORK_V6.segments()[..4],
    }
}

/// Whether `address` is one that a guest may send from: of the network, and of nobody else in it.
pub(crate) fn may_be_guest(address: IpAddr) -> bool {
    let taken = match address {
        IpAddr::V4(address) => {
            [GATEWAY_V4, DNS_V4].contains(&address) || matches!(address.octets()[3], 0 | 255)
        }
        IpAddr::V6(address) => [GATEWAY_V6, DNS_V6, NETWORK_V6].contains(&address),
    };
    is_inside(address) && !taken
}

/// Whether `address` is the network's name server.
pub(crate) fn is_name_server(address: IpAddr) -> bool {
    [IpAddr::V4(DNS_V4), IpAddr::V6(DNS_V6)].contains(&address)
}

/// The gateway's address of the same IP version as `address`.
pub(crate) fn gateway_towards(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => GATEWAY_V4.into(),
        IpAddr::V6(_) => GATEWAY_V6.into(),
    }
}
