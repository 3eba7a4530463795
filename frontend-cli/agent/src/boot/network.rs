//! The host name, network interfaces, and the files in `/etc` that name machines.

mod lease;
mod netlink;

#[cfg(test)]
mod tests;

use std::{fs, io, net::IpAddr};

use hv_agent_protocol::{Address, BootConfig, Network};
use rustix::system::sethostname;

use self::netlink::{Link, Netlink};
use crate::{
    dhcp::{Client, Lease},
    file,
    log::log,
    start_thread,
};

/// The loopback interface is always the first.
const LOOPBACK_INDEX: u32 = 1;

/// Sets up names and networks. A guest lives without them, so failures are only told.
pub(super) fn set_up(config: &BootConfig) {
    let host_name = &config.host_name;
    told("the host name cannot be set", sethostname(host_name.as_bytes()).map_err(io::Error::from));
    let name_servers = match Netlink::open() {
        Ok(netlink) => interfaces(&netlink, &config.networks, host_name),
        Err(error) => {
            log(&format!("networks cannot be set up: {error}"));
            Vec::new()
        }
    };
    told("/etc cannot be made", fs::create_dir_all("/etc"));
    told("/etc/hostname cannot be written", fs::write("/etc/hostname", format!("{host_name}\n")));
    told("/etc/hosts cannot be written", hosts(host_name));
    if !name_servers.is_empty() && !leads_to_text("/etc/resolv.conf") {
        // What the image brought is of the network where it was made.
        let _ = fs::remove_file("/etc/resolv.conf");
        told("/etc/resolv.conf cannot be written", fs::write("/etc/resolv.conf", resolv_conf(&name_servers)));
    }
}

fn told(what: &str, result: io::Result<()>) {
    if let Err(error) = result {
        log(&format!("{what}: {error}"));
    }
}

/// Brings the loopback interface and the cards of `networks` up; their name servers.
fn interfaces(netlink: &Netlink, networks: &[Network], host_name: &str) -> Vec<IpAddr> {
    told("the loopback interface does not come up", netlink.bring_up(LOOPBACK_INDEX, None));
    if networks.is_empty() {
        return Vec::new();
    }
    let links = netlink.links().unwrap_or_else(|error| {
        log(&format!("network cards cannot be listed: {error}"));
        Vec::new()
    });
    let mut name_servers = Vec::new();
    for network in networks {
        match links.iter().find(|link| link.address == network.mac) {
            Some(link) => {
                card(netlink, link, network);
                name_servers.extend(&network.name_servers);
                if network.dhcp {
                    name_servers.extend(ask_server(netlink, link, network, host_name));
                }
            }
            None => log(&format!("there is no network card {}: its driver is missing", mac(network.mac))),
        }
    }
    name_servers
}

/// Sets a card up, and does not wait for its cable.
fn card(netlink: &Netlink, link: &Link, network: &Network) {
    let Link { index, name, .. } = link;
    let accept = format!("/proc/sys/net/ipv6/conf/{name}/accept_ra");
    // A kernel without IPv6 has no such file.
    let has_ipv6 = fs::write(accept, if network.router_advertisements { "1" } else { "0" }).is_ok();
    told(&format!("{name} does not come up"), netlink.bring_up(*index, network.mtu));
    let is_possible = |address: &IpAddr| address.is_ipv4() || has_ipv6;
    for address in network.addresses.iter().filter(|address| is_possible(&address.address)) {
        let told_of = format!("{name} cannot have the address {}", address.address);
        told(&told_of, netlink.add_address(*index, *address));
    }
    for gateway in network.gateways.iter().filter(|gateway| is_possible(gateway)) {
        let told_of = format!("{name} cannot lead to the router {gateway}");
        told(&told_of, netlink.add_default_route(*index, *gateway));
    }
}

/// Has a DHCP server say what a card's IPv4 address is; the name servers that it gives.
fn ask_server(netlink: &Netlink, link: &Link, network: &Network, host_name: &str) -> Vec<IpAddr> {
    let Link { index, name, .. } = link;
    let client = Client { mac: network.mac, host_name };
    match lease::ask(netlink, *index, client) {
        Ok(lease) => {
            let address = Address { address: lease.address.into(), prefix: lease.prefix };
            let gateways = lease.routers.first().map(|router| IpAddr::V4(*router));
            let leased = Network {
                mtu: network.mtu.or(lease.mtu),
                addresses: vec![address],
                gateways: gateways.into_iter().collect(),
                ..network.clone()
            };
            card(netlink, link, &leased);
            let name_servers = lease.name_servers.iter().map(|server| IpAddr::V4(*server)).collect();
            keep(*index, network.mac, host_name.to_owned(), lease);
            name_servers
        }
        Err(error) => {
            log(&format!("{name} has no IPv4 address, since no DHCP server gave one: {error}"));
            Vec::new()
        }
    }
}

/// Has a lease renewed, on a thread of its own if it ever is.
fn keep(index: u32, mac: [u8; 6], host_name: String, lease: Lease) {
    if lease.renewal().is_none() {
        return;
    }
    start_thread("lease", move || match Netlink::open() {
        Ok(netlink) => lease::keep(&netlink, index, Client { mac, host_name: &host_name }, lease),
        Err(error) => log(&format!("the lease of {} is not renewed: {error}", lease.address)),
    });
}

fn mac(address: [u8; 6]) -> String {
    address.map(|byte| format!("{byte:02x}")).join(":")
}

fn resolv_conf(name_servers: &[IpAddr]) -> String {
    name_servers.iter().map(|server| format!("nameserver {server}\n")).collect()
}

/// Names this machine in `/etc/hosts`, unless it is there.
fn hosts(host_name: &str) -> io::Result<()> {
    let mut text = match file::text("/etc/hosts") {
        Ok(text) if !text.trim().is_empty() => text,
        _ => "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n".to_owned(),
    };
    if text.lines().any(|line| line.split_whitespace().skip(1).any(|name| name == host_name)) {
        return Ok(());
    }
    if !text.ends_with('\n') {
        text.push('\n');
    }
    fs::write("/etc/hosts", format!("{text}127.0.1.1\t{host_name}\n"))
}

/// Whether `path` is a link to a file that says something: a service of the image writes that.
fn leads_to_text(path: &str) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| found.is_symlink())
        && file::text(path).is_ok_and(|text| !text.trim().is_empty())
}
