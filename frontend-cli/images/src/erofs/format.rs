//! What stands in an EROFS image: superblock and inodes.

use super::{BLOCK, xattr};
use crate::{
    checksum::{START, crc32c},
    tree::{Attributes, Kind},
};

/// Where the superblock stands (`EROFS_SUPER_OFFSET`); from there to the end of the block it is checksummed.
const SUPERBLOCK: usize = 1024;
const MAGIC: u32 = 0xe0f5_e1e2;
/// `EROFS_FEATURE_COMPAT_SB_CHKSUM` and `EROFS_FEATURE_COMPAT_MTIME`.
const COMPATIBLE: u32 = 1 | 2;
/// `EROFS_FEATURE_INCOMPAT_CHUNKED_FILE`.
const CHUNKED_FILE: u32 = 4;

/// Bytes of a compact inode, and the unit of node numbers.
pub(super) const COMPACT: u64 = 32;
/// Bytes of an extended inode.
pub(super) const EXTENDED: u64 = 64;

/// The facts of a whole image.
pub(super) struct Superblock {
    pub(super) root: u16,
    pub(super) inodes: u64,
    pub(super) build_time: (i64, u32),
    pub(super) blocks: u32,
    pub(super) inodes_at: u32,
    pub(super) xattrs_at: u32,
    pub(super) uuid: [u8; 16],
    pub(super) chunked: bool,
}

/// The first block of an image.
pub(super) fn superblock(superblock: &Superblock) -> Vec<u8> {
    let mut bytes = vec![0; BLOCK as usize];
    let mut put = |offset: usize, field: &[u8]| {
        bytes[SUPERBLOCK + offset..][..field.len()].copy_from_slice(field);
    };
    put(0, &MAGIC.to_le_bytes());
    put(8, &COMPATIBLE.to_le_bytes());
    put(12, &[12]); // blkszbits
    put(14, &superblock.root.to_le_bytes());
    put(16, &superblock.inodes.to_le_bytes());
    put(24, &superblock.build_time.0.to_le_bytes());
    put(32, &superblock.build_time.1.to_le_bytes());
    put(36, &superblock.blocks.to_le_bytes());
    put(40, &superblock.inodes_at.to_le_bytes());
    put(44, &superblock.xattrs_at.to_le_bytes());
    put(48, &superblock.uuid);
    put(80, &(if superblock.chunked { CHUNKED_FILE } else { 0 }).to_le_bytes());
    let checksum = crc32c(START, &bytes[SUPERBLOCK..]);
    bytes[SUPERBLOCK + 4..][..4].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

/// Where an inode's bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// In blocks from this one on; or there are none (`EROFS_INODE_FLAT_PLAIN`).
    Plain(u32),
    /// Behind the inode (`EROFS_INODE_FLAT_INLINE`).
    Inline,
    /// In chunks of 2ⁿ blocks, whose addresses stand behind the inode (`EROFS_INODE_CHUNK_BASED`).
    Chunks(u8),
}

/// The facts of an inode that are not in its attributes.
pub(super) struct Inode {
    pub(super) size: u64,
    pub(super) links: u32,
    pub(super) layout: Layout,
    pub(super) extended: bool,
    /// Bytes of its extended attributes.
    pub(super) xattrs: u32,
    /// For `stat`.
    pub(super) number: u32,
}

/// An inode without what stands behind it. `None` if a field has no room for its value.
pub(super) fn inode(inode: &Inode, attributes: &Attributes, kind: &Kind) -> Option<Vec<u8>> {
    let (layout, mut place) = match inode.layout {
        Layout::Plain(block) => (0, block),
        Layout::Inline => (2, 0),
        Layout::Chunks(bits) => (4, u32::from(bits)),
    };
    if let Kind::CharacterDevice { major, minor } | Kind::BlockDevice { major, minor } = kind {
        place = (minor & 0xff) | (major << 8) | ((minor & !0xff) << 12);
    }
    let format: u16 = u16::from(inode.extended) | (layout << 1);
    let mode = attributes.mode | file_type(kind);
    let mut bytes = Vec::with_capacity(64);
    bytes.extend(format.to_le_bytes());
    bytes.extend(xattr::count(inode.xattrs)?.to_le_bytes());
    bytes.extend(mode.to_le_bytes());
    if inode.extended {
        bytes.extend([0; 2]);
        bytes.extend(inode.size.to_le_bytes());
        bytes.extend(place.to_le_bytes());
        bytes.extend(inode.number.to_le_bytes());
        bytes.extend(attributes.uid.to_le_bytes());
        bytes.extend(attributes.gid.to_le_bytes());
        bytes.extend(attributes.mtime.to_le_bytes());
        bytes.extend(attributes.mtime_nanos.to_le_bytes());
        bytes.extend(inode.links.to_le_bytes());
        bytes.extend([0; 16]);
    } else {
        bytes.extend(u16::try_from(inode.links).ok()?.to_le_bytes());
        bytes.extend(u32::try_from(inode.size).ok()?.to_le_bytes());
        bytes.extend([0; 4]);
        bytes.extend(place.to_le_bytes());
        bytes.extend(inode.number.to_le_bytes());
        bytes.extend(u16::try_from(attributes.uid).ok()?.to_le_bytes());
        bytes.extend(u16::try_from(attributes.gid).ok()?.to_le_bytes());
        bytes.extend([0; 4]);
    }
    Some(bytes)
}

/// The kind as modes tell it (`S_IFMT`).
fn file_type(kind: &Kind) -> u16 {
    match kind {
        Kind::Fifo => 0o010_000,
        Kind::CharacterDevice { .. } => 0o020_000,
        Kind::Directory => 0o040_000,
        Kind::BlockDevice { .. } => 0o060_000,
        Kind::File(_) => 0o100_000,
        Kind::Symlink(_) => 0o120_000,
        Kind::Socket => 0o140_000,
    }
}
