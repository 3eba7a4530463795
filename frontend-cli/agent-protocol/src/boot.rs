//! `BootConfig`: what the initramfs tells the agent.

use std::io;

use serde::{Deserialize, Serialize};

use crate::{MOST_BOOT_CONFIG, VERSION, frame::invalid};

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
    /// `/etc/resolv.conf` of an image that has none; nothing is written if this is empty.
    pub resolv_conf: String,
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
        match postcard::take_from_bytes(bytes).map_err(invalid)? {
            (config, []) => Ok(config),
            _ => Err(invalid("it has bytes after its end")),
        }
    }
}
