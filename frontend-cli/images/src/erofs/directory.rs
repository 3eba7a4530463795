//! Directories of EROFS: blocks of entries in the order of the bytes of the names, so that Linux can bisect them.

use super::BLOCK;
use crate::tree::{Kind, NodeId, Tree};

/// `struct erofs_dirent`: node number (8), where the name begins in the block (2), kind (1), 0.
const ENTRY: usize = 12;

/// A directory's entries in their order, `.` and `..` among them.
pub(super) fn entries(tree: &Tree, directory: NodeId, parent: NodeId) -> Vec<(&[u8], NodeId)> {
    let mut entries: Vec<_> = tree.children(directory).collect();
    for (name, node) in [(&b"."[..], directory), (b"..", parent)] {
        let at = entries.partition_point(|(other, _)| *other < name);
        entries.insert(at, (name, node));
    }
    entries
}

/// How many entries the first block takes.
fn first_block(entries: &[(&[u8], NodeId)]) -> usize {
    let mut used = 0;
    let fits = entries.iter().take_while(|(name, _)| {
        used += ENTRY + name.len();
        used as u64 <= BLOCK
    });
    fits.count()
}

/// The bytes of a directory: all blocks but the last are whole.
pub(super) fn size(mut entries: &[(&[u8], NodeId)]) -> u64 {
    let mut size = 0;
    loop {
        let (block, rest) = entries.split_at(first_block(entries));
        if rest.is_empty() {
            return size + block.iter().map(|(name, _)| (ENTRY + name.len()) as u64).sum::<u64>();
        }
        (size, entries) = (size + BLOCK, rest);
    }
}

/// Writes a directory, whose files have the node numbers that `number` says.
pub(super) fn encode(
    tree: &Tree,
    mut entries: &[(&[u8], NodeId)],
    number: impl Fn(NodeId) -> u64,
) -> Vec<u8> {
    let mut bytes = Vec::new();
    while !entries.is_empty() {
        bytes.resize(bytes.len().next_multiple_of(BLOCK as usize), 0);
        let (block, rest) = entries.split_at(first_block(entries));
        let mut name_at = block.len() * ENTRY;
        for (name, node) in block {
            bytes.extend(number(*node).to_le_bytes());
            // Inside a block of 4096 bytes.
            bytes.extend(u16::try_from(name_at).unwrap_or_default().to_le_bytes());
            bytes.extend([file_type(tree.kind(*node)), 0]);
            name_at += name.len();
        }
        block.iter().for_each(|(name, _)| bytes.extend(*name));
        entries = rest;
    }
    bytes
}

/// The kind as directories tell it (`FT_*`).
fn file_type(kind: &Kind) -> u8 {
    match kind {
        Kind::File(_) => 1,
        Kind::Directory => 2,
        Kind::CharacterDevice { .. } => 3,
        Kind::BlockDevice { .. } => 4,
        Kind::Fifo => 5,
        Kind::Socket => 6,
        Kind::Symlink(_) => 7,
    }
}
