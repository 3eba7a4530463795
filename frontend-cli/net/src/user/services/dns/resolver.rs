//! The host's name servers, as `resolv.conf(5)` lists them.

use std::{
    fs::{self, File},
    io::Read,
    net::{IpAddr, SocketAddr, SocketAddrV6},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// Name servers that are asked; the system's own resolver asks three.
pub(crate) const MAX_SERVERS: usize = 4;

/// What of the file is read, in bytes.
const MAX_FILE: u64 = 64 * 1024;

const DNS_PORT: u16 = 53;

/// What tells one state of a file from another.
#[derive(PartialEq, Eq)]
struct Stamp {
    file: (u64, u64),
    size: u64,
    modified: (i64, i64),
}

/// The list, read again when the file has changed.
pub(super) struct Resolver {
    path: PathBuf,
    stamp: Option<Stamp>,
    servers: Vec<SocketAddr>,
}

impl Resolver {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, stamp: None, servers: Vec::new() }
    }

    /// The servers; none if the file is not there or lists none.
    pub(super) fn servers(&mut self) -> &[SocketAddr] {
        let stamp = stamp(&self.path);
        if stamp != self.stamp {
            self.servers = read(&self.path);
            self.stamp = stamp;
        }
        &self.servers
    }

    #[cfg(test)]
    pub(super) fn set(&mut self, servers: Vec<SocketAddr>) {
        self.stamp = stamp(&self.path);
        self.servers = servers;
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    let metadata = fs::metadata(path).ok().filter(fs::Metadata::is_file)?;
    Some(Stamp {
        file: (metadata.dev(), metadata.ino()),
        size: metadata.size(),
        modified: (metadata.mtime(), metadata.mtime_nsec()),
    })
}

fn read(path: &Path) -> Vec<SocketAddr> {
    // What is no file, such as a pipe, could block.
    if stamp(path).is_none() {
        return Vec::new();
    }
    let mut bytes = Vec::new();
    match File::open(path).and_then(|file| file.take(MAX_FILE).read_to_end(&mut bytes)) {
        Ok(_) => parse(&bytes, interface),
        Err(error) => {
            tracing::warn!("cannot read the host's name servers from {}: {error}", path.display());
            Vec::new()
        }
    }
}

/// The name servers in `bytes`, each once. `interface` tells an interface's index by its name.
pub(crate) fn parse(bytes: &[u8], interface: impl Fn(&str) -> Option<u32>) -> Vec<SocketAddr> {
    let text = String::from_utf8_lossy(bytes);
    let mut servers = Vec::new();
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        if words.next() != Some("nameserver") {
            continue;
        }
        let server = words.next().and_then(|word| address(word, &interface));
        servers.extend(server.filter(|server| !servers.contains(server)));
        if servers.len() == MAX_SERVERS {
            break;
        }
    }
    servers
}

/// An address, of IPv6 perhaps with its interface after a `%` (RFC 4007, 11).
fn address(word: &str, interface: impl Fn(&str) -> Option<u32>) -> Option<SocketAddr> {
    if let Some((address, zone)) = word.split_once('%') {
        let scope = zone.parse().ok().or_else(|| interface(zone))?;
        return Some(SocketAddrV6::new(address.parse().ok()?, DNS_PORT, 0, scope).into());
    }
    match word.parse().ok()? {
        // "This host", as the system's resolver understands it.
        IpAddr::V4(address) if address.is_unspecified() => {
            Some((IpAddr::from([127, 0, 0, 1]), DNS_PORT).into())
        }
        address => Some(SocketAddr::new(address, DNS_PORT)),
    }
}

/// The index of interface `name`, where the system shows it as a file.
fn interface(name: &str) -> Option<u32> {
    if name.contains('/') || name.starts_with('.') {
        return None;
    }
    fs::read_to_string(format!("/sys/class/net/{name}/ifindex")).ok()?.trim().parse().ok()
}
