//! Finds out by looking what a path is an image of.

use std::{
    fs::File,
    io::{self, BufReader, Read, Seek, Write},
    path::Path,
    sync::Arc,
};

use anyhow::{Context, Result};

use super::{FileStream, layout::open_file};
use crate::{
    packing::{Limited, Packing},
    tar::{Archive, Stream},
};

/// What a path is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathKind {
    /// A directory with a root in it.
    Directory,
    /// A tar archive of a root.
    Tar,
    /// A directory that is an OCI image layout.
    OciLayout,
    /// A tar archive of an OCI image layout.
    OciArchive,
    /// A tar archive from `docker save`.
    DockerArchive,
    /// None of these: a disk image, perhaps.
    Other,
}

impl PathKind {
    /// Looks at `path`.
    ///
    /// # Errors
    /// It cannot be read, or is packed in a way that is not supported.
    pub fn of(path: &Path) -> Result<Self> {
        let shown = || path.display().to_string();
        if path.metadata().with_context(shown)?.is_dir() {
            let layout = path.join("index.json").is_file() && path.join("blobs").is_dir();
            return Ok(if layout || path.join("oci-layout").is_file() { Self::OciLayout } else { Self::Directory });
        }
        let file = Arc::new(open_file(path)?);
        let mut head = Vec::new();
        FileStream::new(Arc::clone(&file), 0)?.take(crate::packing::HEAD).read_to_end(&mut head)?;
        let stream = FileStream::new(file, 0)?;
        match Packing::of(&head).with_context(shown)? {
            Packing::Plain => look(&mut Archive::new(stream)),
            packing => look(&mut Archive::new(BufReader::new(packing.unpack(BufReader::new(stream))))),
        }
        .with_context(shown)
    }
}

/// Looks at the names of an archive's entries, only as far as needed: a root shows itself at once.
fn look(archive: &mut Archive<impl Stream>) -> Result<PathKind> {
    let (mut first, mut oci, mut docker) = (true, false, false);
    loop {
        let entry = match archive.advance() {
            Ok(entry) => entry,
            // Not even one entry: no archive. What is wrong further on is found, and told, when it is unpacked.
            Err(_) if first => return Ok(PathKind::Other),
            Err(_) => return Ok(PathKind::Tar),
        };
        let Some(entry) = entry else { break };
        first = false;
        let mut parts = entry.path.split(|byte| *byte == b'/').filter(|part| !matches!(*part, b"" | b"."));
        let (name, below) = (parts.next(), parts.next().is_some());
        match name {
            None => {}
            Some(b"index.json") if !below => oci = true,
            Some(b"manifest.json") if !below => docker = true,
            Some(b"blobs" | b"oci-layout" | b"repositories") => {}
            // Of old Dockers: directories of layers, and configurations.
            Some(name) if name.len() >= 64 && name[..64].iter().all(u8::is_ascii_hexdigit) => {}
            Some(_) => return Ok(PathKind::Tar),
        }
    }
    Ok(match (oci, docker) {
        (true, _) => PathKind::OciArchive,
        (_, true) => PathKind::DockerArchive,
        _ if first => PathKind::Other,
        _ => PathKind::Tar,
    })
}

/// The archive at `path`, unpacked into a file without a name in `folder` if it is packed: its members must be
/// reachable in any order.
///
/// # Errors
/// It cannot be read or unpacked, or is larger than `most` bytes then.
pub fn open_unpacked(path: &Path, folder: &Path, most: u64) -> Result<File> {
    let mut file = open_file(path)?;
    let mut head = Vec::new();
    (&mut file).take(crate::packing::HEAD).read_to_end(&mut head)?;
    file.rewind()?;
    let packing = Packing::of(&head)?;
    if packing == Packing::Plain {
        return Ok(file);
    }
    let mut unpacked = Limited::new(packing.unpack(BufReader::new(file)), most);
    let mut plain = tempfile::tempfile_in(folder).with_context(|| folder.display().to_string())?;
    io::copy(&mut unpacked, &mut plain).with_context(|| path.display().to_string())?;
    plain.flush()?;
    Ok(plain)
}
