//! What is known of the guest, from what it said.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::ServicesConfig;

/// The guest's addresses.
#[derive(Debug, Default)]
pub(super) struct Guest {
    pub(super) mac: Option<[u8; 6]>,
    pub(super) ipv4: Option<Ipv4Addr>,
    pub(super) ipv6: Option<Ipv6Addr>,
}

impl Guest {
    /// The guest has `mac`, and `address` if that is one that it may have.
    pub(super) fn learn(&mut self, config: &ServicesConfig, mac: [u8; 6], address: IpAddr) {
        self.mac = Some(mac);
        if !config.may_be_guest(address) {
            return;
        }
        match address {
            IpAddr::V4(address) => self.ipv4 = Some(address),
            // A link-local address is of no use to whom a forward connects: it needs an interface.
            IpAddr::V6(address) if config.is_in_prefix(address) => self.ipv6 = Some(address),
            IpAddr::V6(_) => {}
        }
    }
}
