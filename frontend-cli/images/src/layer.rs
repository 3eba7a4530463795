//! Applies the layers of an image to a tree (OCI image specification, `layer.md`), the data of files going straight
//! to the disk that is written.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};

use crate::{
    erofs::{self, Writer},
    limits::Limits,
    tar::{Archive, Entry, EntryKind, Stream, shown},
    tree::{Attributes, Content, Kind, Tree},
};

/// In front of the name of what a layer takes away.
const WHITEOUT: &[u8] = b".wh.";
/// The whiteout of all that lower layers have in a directory.
const OPAQUE: &[u8] = b".wh..wh..opq";
/// In front of what a storage driver kept for itself: no part of the image.
const OF_DRIVER: &[u8] = b".wh..wh.";

/// A root that is being unpacked: its files' names and attributes, and the disk with their data.
pub struct Root<'a> {
    tree: Tree,
    writer: Writer,
    limits: &'a Limits,
    entries: usize,
}

impl<'a> Root<'a> {
    /// An empty root.
    pub fn new(writer: Writer, limits: &'a Limits) -> Self {
        Self { tree: Tree::new(limits.entries), writer, limits, entries: 0 }
    }

    /// The tree, and the writer of the data of its files.
    pub fn parts(&mut self) -> (&mut Tree, &mut Writer) {
        (&mut self.tree, &mut self.writer)
    }

    /// Completes the disk, with `uuid`; its size in bytes.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn finish(self, uuid: [u8; 16]) -> Result<u64> {
        self.writer.finish(&self.tree, uuid)
    }

    /// Unpacks a layer, an archive, on top of those before it.
    ///
    /// # Errors
    /// The archive is damaged, hostile, or breaks a bound; the disk cannot be written.
    pub fn apply(&mut self, archive: &mut Archive<impl Stream>) -> Result<()> {
        self.tree.begin_layer();
        while let Some(entry) = archive.advance()? {
            self.entries += 1;
            ensure!(self.entries <= self.limits.entries, "more than {} entries", self.limits.entries);
            self.add(&entry, archive)?;
        }
        Ok(())
    }

    fn add(&mut self, entry: &Entry, archive: &mut Archive<impl Stream>) -> Result<()> {
        let context = || format!("entry {}", shown(&entry.path));
        let path = parts(&entry.path).with_context(context)?;
        let freed = match path.split_last().map(|(name, parents)| (*name, parents)) {
            Some((OPAQUE, parents)) => self.tree.clear(parents).with_context(context)?,
            Some((name, _)) if name.starts_with(OF_DRIVER) => Vec::new(),
            Some((name, parents)) if name.starts_with(WHITEOUT) => {
                let hidden = &name[WHITEOUT.len()..];
                ensure!(!matches!(hidden, b"" | b"." | b".."), "{}: a whiteout of nothing", context());
                self.tree.hide(&[parents, &[hidden]].concat()).with_context(context)?
            }
            _ if entry.kind == EntryKind::HardLink => {
                let target = parts(&entry.link).with_context(|| format!("{}: its target", context()))?;
                self.tree.link(&path, &target).with_context(context)?
            }
            _ => {
                let kind = self.kind(entry, archive).with_context(context)?;
                let attributes = attributes(entry);
                self.tree.insert(&path, attributes, kind).with_context(context)?
            }
        };
        self.discard(freed)
    }

    fn kind(&mut self, entry: &Entry, archive: &mut Archive<impl Stream>) -> Result<Kind> {
        Ok(match entry.kind {
            EntryKind::File => Kind::File(self.store(entry, archive)?),
            EntryKind::Symlink => Kind::Symlink(entry.link.clone()),
            EntryKind::CharacterDevice(major, minor) => Kind::CharacterDevice { major, minor },
            EntryKind::BlockDevice(major, minor) => Kind::BlockDevice { major, minor },
            EntryKind::Directory => Kind::Directory,
            EntryKind::Fifo => Kind::Fifo,
            EntryKind::HardLink => bail!("a hard link is no file of its own"),
        })
    }

    fn store(&mut self, entry: &Entry, archive: &mut Archive<impl Stream>) -> Result<Content> {
        let Some(segments) = &entry.segments else { return self.writer.store(entry.size, archive) };
        let segments: Vec<_> = segments.iter().map(|segment| (segment.offset, segment.size)).collect();
        self.writer.store_segments(entry.size, &segments, archive)
    }

    fn discard(&mut self, freed: Vec<Content>) -> Result<()> {
        freed.into_iter().try_for_each(|content| self.writer.discard(content))
    }
}

/// The parts of an entry's path, from the root.
///
/// # Errors
/// It is absolute, leads upwards, or has what no file can be called.
fn parts(path: &[u8]) -> Result<Vec<&[u8]>> {
    ensure!(!path.starts_with(b"/"), "an absolute path: make the archive without leading slashes");
    ensure!(!path.split(|byte| *byte == b'/').any(|part| part == b".."), "a path with `..` in it");
    Ok(crate::tree::components(path)?)
}

fn attributes(entry: &Entry) -> Attributes {
    let kept = entry.attributes.iter().filter(|one| erofs::is_kept(&one.name));
    let xattrs: BTreeMap<_, _> = kept.map(|one| (one.name.clone(), one.value.clone())).collect();
    let Entry { mode, uid, gid, mtime, mtime_nanos, .. } = *entry;
    Attributes { mode, uid, gid, mtime, mtime_nanos, xattrs }
}

#[cfg(test)]
mod tests;
