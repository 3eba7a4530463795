//! The host's name servers, as `resolv.conf(5)` lists them.

use std::{
    fs::{self, File},
    io::{self, Read},
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
        let mut resolver = Self { path, stamp: None, servers: Vec::new() };
        // What replaces the file later may be out of this process's reach.
        resolver.servers();
        resolver
    }

    /// The servers; none if the file is not there or lists none.
    pub(super) fn servers(&mut self) -> &[SocketAddr] {
        let stamp = stamp(&self.path);
        if stamp != self.stamp {
            // A list that may not be read any more is another file in the place of the one that was opened to this process:
            // the servers that are known are the better guess.
            match read(&self.path) {
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied && !self.servers.is_empty() => {
                    let shown = self.path.display();
                    tracing::warn!(
                        "{shown} was replaced and may not be read; the guest keeps the name servers that it had"
                    );
                }
                Err(error) => {
                    tracing::warn!(
                        "cannot read the host's name servers from {}: {error}",
                        self.path.display()
                    );
                    self.servers = Vec::new();
                }
                Ok(servers) => self.servers = servers,
            }
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

fn read(path: &Path) -> io::Result<Vec<SocketAddr>> {
    // What is no file, such as a pipe, could block.
    if stamp(path).is_none() {
        return Ok(Vec::new());
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_FILE).read_to_end(&mut bytes)?;
    Ok(parse(&bytes, interface))
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

/// The index of interface `name`, where there is a call for it that needs no file.
fn interface(name: &str) -> Option<u32> {
    #[cfg(target_os = "linux")]
    {
        use rustix::net::{AddressFamily, SocketType, netdevice, socket};
        let any = socket(AddressFamily::INET, SocketType::DGRAM, None).ok()?;
        netdevice::name_to_index(any, name).ok()
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = name;
        None
    }
}
