//! Where the members of an uncompressed tar archive lie, so that they can be read in any order.

use std::{
    collections::HashMap,
    fs::File,
    io::{self, Read},
    os::unix::fs::FileExt,
    sync::Arc,
};

use anyhow::{Context, Result, bail, ensure};

use crate::tar::{Archive, EntryKind, Stream, shown};

/// Members of an archive of images: layers, and a few documents for each.
const MOST_MEMBERS: usize = 1 << 16;
/// Links from member to member, as old Dockers write them for a layer that two images have.
const MOST_LINKS: usize = 8;

/// The members of a tar archive by their names.
#[derive(Debug, Clone)]
pub struct Members {
    file: Arc<File>,
    members: HashMap<Vec<u8>, Member>,
}

#[derive(Debug, Clone)]
enum Member {
    /// Offset and bytes.
    Data(u64, u64),
    Link(Vec<u8>),
}

impl Members {
    /// Lists the members of the archive in `file`.
    ///
    /// # Errors
    /// It cannot be read, is damaged, or has too many.
    pub fn list(file: File) -> Result<Self> {
        let file = Arc::new(file);
        let mut archive = Archive::new(FileStream::new(Arc::clone(&file), 0)?);
        let mut members = HashMap::new();
        while let Some(entry) = archive.advance()? {
            let Some(name) = normal(&entry.path) else { continue };
            let member = match entry.kind {
                EntryKind::File if entry.segments.is_none() => Member::Data(archive.position(), entry.size),
                EntryKind::Symlink => {
                    let parent = name.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
                    let target = [&name[..parent], &entry.link].concat();
                    let Some(target) = normal(&target) else { continue };
                    Member::Link(target)
                }
                EntryKind::HardLink => {
                    let Some(target) = normal(&entry.link) else { continue };
                    Member::Link(target)
                }
                _ => continue,
            };
            ensure!(members.len() < MOST_MEMBERS, "more than {MOST_MEMBERS} files: that is no archive of images");
            members.insert(name, member);
        }
        Ok(Self { file, members })
    }

    /// Whether there is a member of this name.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.members.contains_key(name.as_bytes())
    }

    /// Bytes of the member of this name.
    ///
    /// # Errors
    /// There is none.
    pub fn size(&self, name: &[u8]) -> Result<u64> {
        self.find(name).map(|(_, size)| size)
    }

    /// The data of the member of this name, from `offset` on.
    ///
    /// # Errors
    /// There is none.
    pub fn open(&self, name: &[u8], offset: u64) -> Result<io::Take<FileStream>> {
        let (start, size) = self.find(name)?;
        let offset = offset.min(size);
        Ok(FileStream::new(Arc::clone(&self.file), start + offset)?.take(size - offset))
    }

    fn find(&self, name: &[u8]) -> Result<(u64, u64)> {
        let asked = name;
        let mut name = normal(asked).with_context(|| format!("{} leads out of the archive", shown(asked)))?;
        for _ in 0..MOST_LINKS {
            match self.members.get(&name) {
                Some(Member::Data(offset, size)) => return Ok((*offset, *size)),
                Some(Member::Link(target)) => name = target.clone(),
                None => bail!("{} is not in the archive", shown(asked)),
            }
        }
        bail!("{}: more than {MOST_LINKS} links", shown(asked))
    }
}

/// A name without `.`, `..` and doubled slashes; none if it leads out of the archive.
fn normal(path: &[u8]) -> Option<Vec<u8>> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join(&b'/'))
}

/// A file from an offset on, read without moving a cursor that others share.
#[derive(Debug, Clone)]
pub struct FileStream {
    file: Arc<File>,
    offset: u64,
    size: u64,
}

impl FileStream {
    /// Reads `file` from `offset` on.
    ///
    /// # Errors
    /// The file's size cannot be told.
    pub fn new(file: Arc<File>, offset: u64) -> io::Result<Self> {
        let size = file.metadata()?.len();
        Ok(Self { file, offset, size })
    }
}

impl Read for FileStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buffer, self.offset)?;
        self.offset += count as u64;
        Ok(count)
    }
}

impl Stream for FileStream {
    fn skip(&mut self, bytes: u64) -> io::Result<()> {
        match self.offset.checked_add(bytes).filter(|offset| *offset <= self.size) {
            Some(offset) => self.offset = offset,
            None => return Err(io::ErrorKind::UnexpectedEof.into()),
        }
        Ok(())
    }
}
