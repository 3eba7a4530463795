//! Names as addresses.

use std::collections::BTreeSet;

use super::*;

fn names() -> impl Iterator<Item = String> {
    (0..2000).map(|number| format!("guest-{number}"))
}

#[test]
fn addresses_are_the_same_for_a_name_and_differ_between_names() {
    assert_eq!(mac_of(hash("web")), mac_of(hash("web")));
    let macs: BTreeSet<[u8; 6]> = names().map(|name| mac_of(hash(&name)).0).collect();
    assert!(macs.len() > 1990, "{} of 2000", macs.len());
    for mac in macs {
        assert_eq!(mac[..3], [0x52, 0x54, 0], "locally administered, of one card");
    }
}

#[test]
fn a_name_keeps_its_address_in_all_versions() {
    assert_eq!(mac_of(hash("web")).to_string(), "52:54:00:e8:ff:d2");
}

#[test]
fn guests_on_a_segment_have_addresses_of_hosts() {
    for name in names() {
        let [ipv4, ipv6] = segment_addresses(hash(&name));
        let IpAddr::V4(address) = ipv4.address else { unreachable!("the first is of IPv4") };
        let [10, 104, _, last] = address.octets() else { unreachable!("they are in one network: {address}") };
        assert!((1..=254).contains(&last) && ipv4.prefix == 16);
        assert!(ipv6.address.to_string().starts_with("fd00:6876:0:1::") && ipv6.prefix == 64);
    }
}
