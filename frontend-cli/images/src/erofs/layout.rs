//! Where inodes, directories and attributes go in the image, and writing them there.

mod chunks;
mod space;

use std::{cmp::Reverse, collections::BTreeMap};

use anyhow::{Context, Result, ensure};

use super::{
    BLOCK, MOST_BLOCKS, directory,
    format::{self, COMPACT, EXTENDED, Inode, Layout, Superblock},
    output::Output,
    xattr::Shared,
};
use crate::tree::{Kind, NodeId, Tree};
use space::Space;

/// An inode with its place.
struct Placed {
    node: NodeId,
    /// Of a directory.
    parent: NodeId,
    /// Bytes from where inodes begin.
    position: u64,
    inode: Inode,
}

struct Plan<'a> {
    tree: &'a Tree,
    shared: Shared<'a>,
    build_time: (i64, u32),
    placed: Vec<Placed>,
    /// By index of the node: the index in `placed`, if it has a place.
    places: Vec<Option<u32>>,
    space: Space,
    /// The next free block for what is too large to stand behind its inode.
    next: u64,
    /// Contents of files lie below this block.
    contents_end: u64,
}

/// Writes all of `tree` from block `next` on, and the first block. Returns the bytes of the image.
pub(super) fn write(output: &mut Output, next: u64, tree: &Tree, uuid: [u8; 16]) -> Result<u64> {
    let mut plan = Plan {
        tree,
        shared: Shared::new(tree.nodes().map(|node| &tree.attributes(node).xattrs)),
        build_time: commonest_time(tree),
        placed: Vec::new(),
        places: vec![None; tree.places()],
        space: Space::new(),
        next,
        contents_end: next,
    };
    plan.place_all()?;
    plan.write(output, uuid)
}

/// The time that most files have: with it, an inode can be compact.
fn commonest_time(tree: &Tree) -> (i64, u32) {
    let mut counts: BTreeMap<(i64, u32), usize> = BTreeMap::new();
    for node in tree.nodes() {
        let attributes = tree.attributes(node);
        *counts.entry((attributes.mtime, attributes.mtime_nanos)).or_default() += 1;
    }
    counts.into_iter().max_by_key(|&(time, count)| (count, Reverse(time))).map_or((0, 0), |(time, _)| time)
}

impl Plan<'_> {
    /// Gives each file its place: those of a directory one after the other, then those of its first subdirectory.
    fn place_all(&mut self) -> Result<()> {
        self.place(Tree::ROOT, Tree::ROOT)?;
        let mut ahead = vec![Tree::ROOT];
        while let Some(directory) = ahead.pop() {
            let first = ahead.len();
            for (_, child) in self.tree.children(directory) {
                if self.places[child.index()].is_none() {
                    self.place(child, directory)?;
                }
                if *self.tree.kind(child) == Kind::Directory {
                    ahead.push(child);
                }
            }
            ahead[first..].reverse();
        }
        Ok(())
    }

    fn place(&mut self, node: NodeId, parent: NodeId) -> Result<()> {
        let (tree, attributes) = (self.tree, self.tree.attributes(node));
        let size = match tree.kind(node) {
            Kind::Directory => directory::size(&directory::entries(tree, node, parent)),
            Kind::File(content) => content.size,
            Kind::Symlink(target) => target.len() as u64,
            _ => 0,
        };
        let links = match tree.kind(node) {
            Kind::Directory => {
                let children = tree.children(node).filter(|(_, child)| *tree.kind(*child) == Kind::Directory);
                u32::try_from(children.count() + 2)?
            }
            _ => tree.names(node),
        };
        let extended = (attributes.mtime, attributes.mtime_nanos) != self.build_time
            || attributes.uid.max(attributes.gid).max(links) > u32::from(u16::MAX)
            || u32::try_from(size).is_err();
        let xattrs = self.shared.body(&attributes.xattrs).len() as u64;
        let header = xattrs + if extended { EXTENDED } else { COMPACT };
        let (layout, behind) = match tree.kind(node) {
            Kind::File(content) if content.inline.is_empty() => {
                let layout = chunks::layout(content, self.contents_end)?;
                (layout, if let Layout::Chunks(bits) = layout { chunks::count(size, bits) * 4 } else { 0 })
            }
            _ if size == 0 => (Layout::Plain(0), 0),
            _ if header + size <= BLOCK => (Layout::Inline, size),
            _ => (Layout::Plain(self.blocks(size)?), 0),
        };
        let position = self.space.place(header + behind, layout == Layout::Inline);
        let index = u32::try_from(self.placed.len())?;
        self.places[node.index()] = Some(index);
        let inode = Inode {
            size,
            links,
            layout,
            extended,
            xattrs: u32::try_from(xattrs)?,
            number: index.saturating_add(1),
        };
        self.placed.push(Placed { node, parent, position, inode });
        Ok(())
    }

    /// Takes blocks for `size` bytes.
    fn blocks(&mut self, size: u64) -> Result<u32> {
        let first = self.next;
        self.next += size.div_ceil(BLOCK);
        ensure!(self.next <= MOST_BLOCKS, "the image would be larger than 16 TiB");
        Ok(u32::try_from(first)?)
    }

    fn write(mut self, output: &mut Output, uuid: [u8; 16]) -> Result<u64> {
        // Those that are written have their blocks in this order.
        for placed in &self.placed {
            if let Layout::Plain(block) = placed.inode.layout
                && let Some(bytes) = self.bytes(placed)
            {
                output.write(u64::from(block) * BLOCK, &bytes)?;
            }
        }
        let xattrs_at = self.blocks(self.shared.area.len() as u64)?;
        output.write(u64::from(xattrs_at) * BLOCK, &self.shared.area)?;
        let inodes_at = self.blocks(self.space.end())?;
        let mut order: Vec<u32> = (0..).take(self.placed.len()).collect();
        order.sort_unstable_by_key(|index| self.placed[*index as usize].position);
        for index in order {
            let placed = &self.placed[index as usize];
            output.write(u64::from(inodes_at) * BLOCK + placed.position, &self.inode(placed)?)?;
        }
        let superblock = Superblock {
            root: u16::try_from(self.number(Tree::ROOT))?,
            inodes: self.placed.len() as u64,
            build_time: self.build_time,
            blocks: u32::try_from(self.next)?,
            inodes_at,
            xattrs_at,
            uuid,
            chunked: self.placed.iter().any(|placed| matches!(placed.inode.layout, Layout::Chunks(_))),
        };
        output.write(0, &format::superblock(&superblock))?;
        Ok(self.next * BLOCK)
    }

    /// An inode and what stands behind it.
    fn inode(&self, placed: &Placed) -> Result<Vec<u8>> {
        let attributes = self.tree.attributes(placed.node);
        let kind = self.tree.kind(placed.node);
        let mut bytes =
            format::inode(&placed.inode, attributes, kind).context("an inode is too small for its file")?;
        bytes.extend(self.shared.body(&attributes.xattrs));
        match (placed.inode.layout, kind) {
            (Layout::Inline, _) => bytes.extend(self.bytes(placed).into_iter().flatten()),
            (Layout::Chunks(bits), Kind::File(content)) => bytes.extend(chunks::map(content, bits)),
            _ => {}
        }
        Ok(bytes)
    }

    /// The bytes of a file that are not yet in the image.
    fn bytes(&self, placed: &Placed) -> Option<Vec<u8>> {
        match self.tree.kind(placed.node) {
            Kind::Directory => {
                let entries = directory::entries(self.tree, placed.node, placed.parent);
                Some(directory::encode(self.tree, &entries, |node| self.number(node)))
            }
            Kind::Symlink(target) => Some(target.clone()),
            Kind::File(content) if !content.inline.is_empty() => Some(content.inline.to_vec()),
            _ => None,
        }
    }

    /// The node number of a file that has its place.
    fn number(&self, node: NodeId) -> u64 {
        let placed = self.places[node.index()].and_then(|index| self.placed.get(index as usize));
        placed.map_or(0, |placed| placed.position / COMPACT)
    }
}
