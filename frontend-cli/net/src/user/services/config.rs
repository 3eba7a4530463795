//! What the services are told: addresses, names, the host's resolver, whom the guest may ping.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::PathBuf,
};

use crate::user::{
    addresses::{
        DNS_V4, DNS_V6, GATEWAY_LINK_LOCAL, GATEWAY_MAC, GATEWAY_V4, GATEWAY_V6, GUEST_V4, MTU, NETWORK_V6,
        PREFIX_V4,
    },
    policy,
};

/// The length of the IPv6 prefix, as stateless autoconfiguration wants it on Ethernet (RFC 2464, 4).
pub(super) const IPV6_PREFIX_LEN: u8 = 64;

/// Addresses and names of the network, and what of the host it may use.
pub(crate) struct ServicesConfig {
    /// The Ethernet address of the gateway, which the DNS server shares.
    pub(crate) gateway_mac: [u8; 6],
    pub(crate) gateway_ipv4: Ipv4Addr,
    pub(crate) dns_ipv4: Ipv4Addr,
    /// The address that DHCP gives out.
    pub(crate) guest_ipv4: Ipv4Addr,
    /// Bits of the IPv4 subnet, in which the addresses above lie.
    pub(crate) ipv4_prefix_len: u8,
    pub(crate) gateway_ipv6: Ipv6Addr,
    /// The gateway as a router must name itself (RFC 4861, 6.1.2).
    pub(crate) gateway_link_local: Ipv6Addr,
    pub(crate) dns_ipv6: Ipv6Addr,
    /// The prefix, of 64 bits, in which the IPv6 addresses above lie.
    pub(crate) ipv6_prefix: Ipv6Addr,
    /// The longest IP packet for the guest, in bytes.
    pub(crate) mtu: u16,
    /// What DHCP tells the guest as its name.
    pub(crate) host_name: Option<String>,
    /// Names that the DNS server answers itself beside those of the gateway, and their addresses.
    pub(crate) names: Vec<(String, Vec<IpAddr>)>,
    /// The host's list of name servers, as `resolv.conf(5)` has it.
    pub(crate) resolver_config: PathBuf,
    /// Whom beyond the network the guest may ping.
    pub(crate) may_ping: Box<dyn Fn(IpAddr) -> bool + Send>,
}

impl ServicesConfig {
    /// The user network's, for a guest that may reach services of this host or not.
    pub(crate) fn new(host: bool) -> Self {
        Self {
            gateway_mac: GATEWAY_MAC,
            gateway_ipv4: GATEWAY_V4,
            dns_ipv4: DNS_V4,
            guest_ipv4: GUEST_V4,
            ipv4_prefix_len: PREFIX_V4,
            gateway_ipv6: GATEWAY_V6,
            gateway_link_local: GATEWAY_LINK_LOCAL,
            dns_ipv6: DNS_V6,
            ipv6_prefix: NETWORK_V6,
            mtu: MTU,
            host_name: None,
            names: Vec::new(),
            resolver_config: "/etc/resolv.conf".into(),
            may_ping: Box::new(move |address| policy::admit(address, host).is_some()),
        }
    }

    /// Whether `address` is the gateway's or the DNS server's.
    pub(super) fn is_own(&self, address: IpAddr) -> bool {
        self.is_dns(address)
            || match address {
                IpAddr::V4(address) => address == self.gateway_ipv4,
                IpAddr::V6(address) => address == self.gateway_ipv6 || address == self.gateway_link_local,
            }
    }

    /// Whether `address` is the DNS server's.
    pub(super) fn is_dns(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => address == self.dns_ipv4,
            IpAddr::V6(address) => address == self.dns_ipv6,
        }
    }

    /// Whether `address` is in the subnet, in the prefix, or link-local.
    pub(super) fn is_on_link(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => (address.to_bits() ^ self.gateway_ipv4.to_bits()) & self.ipv4_mask() == 0,
            IpAddr::V6(address) => self.is_in_prefix(address) || address.is_unicast_link_local(),
        }
    }

    /// Whether `address` is in the IPv6 prefix.
    pub(super) fn is_in_prefix(&self, address: Ipv6Addr) -> bool {
        (address.to_bits() ^ self.ipv6_prefix.to_bits()) >> (128 - IPV6_PREFIX_LEN) == 0
    }

    /// Whether `address` can be one host's: no group, no broadcast, not this host seen from itself.
    pub(super) fn is_host(&self, address: IpAddr) -> bool {
        let broadcast = match address {
            IpAddr::V4(address) => address.is_broadcast() || self.is_edge(address),
            IpAddr::V6(_) => false,
        };
        !broadcast && !address.is_multicast() && !address.is_unspecified() && !address.is_loopback()
    }

    /// Whether a guest may send from `address`.
    pub(super) fn may_be_guest(&self, address: IpAddr) -> bool {
        self.is_on_link(address) && self.is_host(address) && !self.is_own(address)
    }

    pub(super) fn ipv4_mask(&self) -> u32 {
        u32::MAX.checked_shl(32_u32.saturating_sub(self.ipv4_prefix_len.into())).unwrap_or(0)
    }

    pub(super) fn ipv4_broadcast(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.gateway_ipv4.to_bits() | !self.ipv4_mask())
    }

    /// Whether `address` names the subnet itself or all hosts of it.
    fn is_edge(&self, address: Ipv4Addr) -> bool {
        let network = self.gateway_ipv4.to_bits() & self.ipv4_mask();
        address.to_bits() == network || address == self.ipv4_broadcast()
    }
}
