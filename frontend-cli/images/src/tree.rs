//! A root file system in memory: names, attributes, and where in an image the bytes of its files lie.
//!
//! It is filled as an archive is read, one layer after the other, and has the meaning that container runtimes give to
//! layers: an entry below a symbolic link goes where the link leads inside the root, never out of it.

mod change;
mod error;
mod walk;

use std::{collections::BTreeMap, ops::Range};

pub use error::Error;
pub use walk::components;

/// The most bytes of a name (`NAME_MAX`).
pub const MOST_NAME: usize = 255;
/// The most directories below one another.
pub const MOST_DEPTH: usize = 2048;
/// The most symbolic links on the way to one file, as in Linux.
pub const MOST_LINKS: usize = 40;
/// The most bytes of a symbolic link's target (`PATH_MAX` without its end).
pub const MOST_TARGET: usize = 4095;
/// The most bytes of the names and values of one file's extended attributes, as Linux lists them.
pub const MOST_XATTRS: usize = 64 << 10;
/// The most bytes of names, targets, extended attributes and inline contents of a whole tree.
pub const MOST_HELD: usize = 1 << 30;

/// What is known of a file besides its kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// Permissions, set-user-ID, set-group-ID and sticky bit: `07777`.
    pub mode: u16,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// Time of the last modification, seconds since 1970.
    pub mtime: i64,
    /// Its nanoseconds, below 10⁹.
    pub mtime_nanos: u32,
    /// Extended attributes by full name, `security.capability`.
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Attributes {
    /// Those of a directory that no archive tells of, but has files in.
    pub fn of_missing_parent() -> Self {
        Self { mode: 0o755, ..Self::default() }
    }
}

/// What a file is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A regular file.
    File(Content),
    /// A symbolic link with its target.
    Symlink(Vec<u8>),
    /// A character device.
    CharacterDevice {
        /// 12 bits.
        major: u32,
        /// 20 bits.
        minor: u32,
    },
    /// A block device.
    BlockDevice {
        /// 12 bits.
        major: u32,
        /// 20 bits.
        minor: u32,
    },
    /// A named pipe.
    Fifo,
    /// A Unix socket.
    Socket,
}

/// Where the bytes of a regular file are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Content {
    /// Bytes.
    pub size: u64,
    /// Parts that lie in the image, in the order of the file; what lies in none of them reads as zero.
    pub extents: Vec<Extent>,
    /// All bytes of a small file that is not yet in the image: it goes there with its inode. Empty if there are extents.
    pub inline: Box<[u8]>,
}

/// A part of a file that lies in the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Where it begins in the file, a multiple of the block size.
    pub file_offset: u64,
    /// Bytes; a multiple of the block size unless the file ends with it.
    pub length: u64,
    /// Where it begins in the image, a multiple of the block size.
    pub image_offset: u64,
}

impl Extent {
    /// The bytes of the file.
    pub fn file_range(&self) -> Range<u64> {
        self.file_offset..self.file_offset.saturating_add(self.length)
    }
}

/// Names a file of a [`Tree`]; of use until the tree is changed next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(u32);

impl NodeId {
    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

#[derive(Debug)]
struct Node {
    attributes: Attributes,
    kind: Kind,
    /// Of a directory only.
    children: BTreeMap<Box<[u8]>, NodeId>,
    /// How many names it has; none if its place is free.
    names: u32,
    /// The layer that told of it last.
    layer: u32,
}

/// A root file system.
#[derive(Debug)]
pub struct Tree {
    nodes: Vec<Node>,
    free: Vec<NodeId>,
    entries: usize,
    most_entries: usize,
    held: usize,
    layer: u32,
}

impl Tree {
    /// The directory that all others are in.
    pub const ROOT: NodeId = NodeId(0);

    /// An empty root that takes at most `most_entries` names.
    pub fn new(most_entries: usize) -> Self {
        let root = Node {
            attributes: Attributes::of_missing_parent(),
            kind: Kind::Directory,
            children: BTreeMap::new(),
            names: 1,
            layer: 0,
        };
        let most_entries = most_entries.min(u32::MAX as usize / 2);
        Self { nodes: vec![root], free: Vec::new(), entries: 0, most_entries, held: 0, layer: 0 }
    }

    /// How many names there are, the root apart.
    pub fn len(&self) -> usize {
        self.entries
    }

    /// Whether the root is all there is.
    pub fn is_empty(&self) -> bool {
        self.entries == 0
    }

    /// What is known of a file.
    pub fn attributes(&self, node: NodeId) -> &Attributes {
        &self.nodes[node.index()].attributes
    }

    /// What a file is.
    pub fn kind(&self, node: NodeId) -> &Kind {
        &self.nodes[node.index()].kind
    }

    /// How many names (hard links) a file has.
    pub fn names(&self, node: NodeId) -> u32 {
        self.nodes[node.index()].names
    }

    /// What is in a directory, in the order of the bytes of the names; nothing is in other files.
    pub fn children(&self, node: NodeId) -> impl DoubleEndedIterator<Item = (&[u8], NodeId)> {
        self.nodes[node.index()].children.iter().map(|(name, child)| (&**name, *child))
    }

    /// The file of this path; symbolic links are not followed.
    pub fn lookup(&self, path: &[&[u8]]) -> Option<NodeId> {
        path.iter().try_fold(Self::ROOT, |directory, name| self.child(directory, name))
    }

    /// The file that a program whose root this is would open by this path: all symbolic links are followed, inside
    /// the root. Nothing if there is none.
    pub fn resolve(&self, path: &[&[u8]]) -> Result<Option<NodeId>, Error> {
        let place = self.walk(path)?;
        Ok(place.missing.is_empty().then_some(place.node))
    }

    /// Every file once, in no order that means anything.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = NodeId> {
        (0..).map(NodeId).zip(&self.nodes).filter(|(_, node)| node.names > 0).map(|(id, _)| id)
    }

    /// Above every [`NodeId`]'s index.
    pub(crate) fn places(&self) -> usize {
        self.nodes.len()
    }

    fn child(&self, directory: NodeId, name: &[u8]) -> Option<NodeId> {
        self.nodes[directory.index()].children.get(name).copied()
    }

    fn is_directory(&self, node: NodeId) -> bool {
        matches!(self.kind(node), Kind::Directory)
    }
}

#[cfg(test)]
mod tests;
