//! `BootConfig`: what the initramfs tells the agent.

use std::{io, net::IpAddr};

use serde::{Deserialize, Serialize};

use crate::{MOST_BOOT_CONFIG, VERSION, frame::invalid};

/// The most network cards that a configuration speaks of.
pub const MOST_NETWORKS: usize = 8;

/// The most addresses, gateways and name servers of a network card, of each.
pub const MOST_ADDRESSES: usize = 16;

/// How a guest is brought up, before there is anybody to ask.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootConfig {
    /// Kernel modules to load, as paths in the initramfs, in this order.
    pub modules: Vec<String>,
    /// The guest's host name.
    pub host_name: String,
    /// The root file system.
    pub root: Root,
    /// What is mounted besides, in this order.
    pub mounts: Vec<Mount>,
    /// Network cards, at most [`MOST_NETWORKS`]. One that is not named here is left alone.
    pub networks: Vec<Network>,
}

/// How a network card is set up.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Network {
    /// The card's MAC address, by which it is found.
    pub mac: [u8; 6],
    /// The most bytes of an IP packet; what the card says if not given.
    pub mtu: Option<u16>,
    /// A DHCP server is asked for an IPv4 address, its gateway and name servers.
    pub dhcp: bool,
    /// Router advertisements give more addresses and routes of IPv6.
    pub router_advertisements: bool,
    /// Addresses, at most [`MOST_ADDRESSES`].
    pub addresses: Vec<Address>,
    /// Routers for all that is not on the link, at most [`MOST_ADDRESSES`].
    pub gateways: Vec<IpAddr>,
    /// What `/etc/resolv.conf` of an image that has none names, at most [`MOST_ADDRESSES`].
    pub name_servers: Vec<IpAddr>,
}

/// An address of a network card.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    /// The address.
    pub address: IpAddr,
    /// How many of its first bits are the network's: at most 32 or 128.
    pub prefix: u8,
}

/// The root file system: a disk, and what takes the changes to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Root {
    /// The disk with the image.
    pub lower: Disk,
    /// Where changes go.
    pub upper: Upper,
}

/// A file system on a disk of the guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    /// The serial of the virtio block device, at most 20 bytes.
    pub serial: String,
    /// The file system as Linux names it: `erofs`, `ext4`.
    pub filesystem: String,
}

/// Where changes of the root go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Upper {
    /// Nowhere: the root is read-only.
    None,
    /// To the lower disk itself.
    Lower,
    /// To RAM, and with it they are gone.
    Memory {
        /// The most bytes; half of the guest's RAM if not given.
        limit: Option<u64>,
    },
    /// To another disk.
    Disk(Disk),
}

/// One more file system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// What is mounted.
    pub source: Source,
    /// The file system as Linux names it.
    pub filesystem: String,
    /// Where; made if missing.
    pub target: String,
    /// Nothing can be written below it.
    pub read_only: bool,
    /// Options of the file system, as for mount(8).
    pub options: String,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Source {
    /// A name that the file system understands, such as the tag of a shared folder.
    Name(String),
    /// The disk with this serial.
    Serial(String),
}

impl BootConfig {
    /// The file's bytes: [`VERSION`] as a little-endian `u32`, then postcard.
    pub fn encode(&self) -> io::Result<Vec<u8>> {
        self.check()?;
        let bytes = postcard::to_allocvec(self).map_err(invalid)?;
        let file = [&VERSION.to_le_bytes(), &*bytes].concat();
        if file.len() > MOST_BOOT_CONFIG {
            return Err(invalid(format!("{} bytes, but at most {MOST_BOOT_CONFIG} are allowed", file.len())));
        }
        Ok(file)
    }

    /// Reads the file's bytes.
    pub fn decode(file: &[u8]) -> io::Result<Self> {
        let (version, bytes) = file.split_first_chunk().ok_or_else(|| invalid("it is cut short"))?;
        let version = u32::from_le_bytes(*version);
        if version != VERSION {
            return Err(invalid(format!("it is of version {version}, but the agent of version {VERSION}")));
        }
        if file.len() > MOST_BOOT_CONFIG {
            return Err(invalid("it is too long"));
        }
        match postcard::take_from_bytes::<Self>(bytes).map_err(invalid)? {
            (config, []) => config.check().map(|()| config),
            _ => Err(invalid("it has bytes after its end")),
        }
    }

    fn check(&self) -> io::Result<()> {
        if self.networks.len() > MOST_NETWORKS {
            return Err(invalid(format!("it has more than {MOST_NETWORKS} network cards")));
        }
        self.networks.iter().try_for_each(Network::check)
    }
}

impl Network {
    fn check(&self) -> io::Result<()> {
        let counts = [self.addresses.len(), self.gateways.len(), self.name_servers.len()];
        if counts.into_iter().any(|count| count > MOST_ADDRESSES) {
            return Err(invalid(format!("a network card has more than {MOST_ADDRESSES} addresses")));
        }
        let is_sound =
            |Address { address, prefix }: &Address| *prefix <= if address.is_ipv4() { 32 } else { 128 };
        if !self.addresses.iter().all(is_sound) {
            return Err(invalid("a network is smaller than an address"));
        }
        Ok(())
    }
}
