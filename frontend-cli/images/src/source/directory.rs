//! A root in a directory of the host, with owners, modes, links, devices, extended attributes and holes.

use std::{
    collections::{BTreeMap, HashMap},
    ffi::OsString,
    fs::{self, DirEntry, File, Metadata},
    io::{self, Read},
    os::unix::{
        ffi::{OsStrExt, OsStringExt},
        fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
    thread,
    time::{Duration, SystemTime},
};

use anyhow::{Context, Result, bail, ensure};
use rustix::{fs::SeekFrom, io::Errno};

use crate::{
    Digest, Progress,
    digest::Hasher,
    erofs,
    layer::Root,
    limits::{Limits, MOST_ATTRIBUTE, MOST_SEGMENTS},
    tree::{Attributes, Kind},
};

/// How coarse the clock of a file system may be: a change so soon after another may leave no trace.
pub(crate) const TICK: Duration = Duration::from_millis(20);

/// A directory with a root.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    most_entries: usize,
}

/// What a walk comes to.
struct Visit<'a> {
    /// Names from the root on.
    names: &'a [Vec<u8>],
    path: &'a Path,
    metadata: &'a Metadata,
}

impl Directory {
    /// The root in `path`.
    #[must_use]
    pub fn new(path: &Path, limits: &Limits) -> Self {
        Self { path: path.to_owned(), most_entries: limits.entries }
    }

    /// A digest that changes whenever anything in the directory does. It is made of what the file system knows of
    /// each file, its time of change and number above all, and not of the files' bytes: so it is found quickly.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn digest(&self) -> Result<Digest> {
        loop {
            let begun = SystemTime::now();
            let (digest, newest) = self.list()?;
            // What changed within the same tick of the clock would not show: let it pass.
            let age = begun.duration_since(newest).unwrap_or(Duration::MAX);
            if age >= TICK {
                return Ok(digest);
            }
            thread::sleep(TICK);
        }
    }

    fn list(&self) -> Result<(Digest, SystemTime)> {
        let mut hasher = Hasher::default();
        hasher.field(b"hv root directory 1");
        let mut newest = SystemTime::UNIX_EPOCH;
        self.walk(&mut |visit| {
            visit.names.iter().for_each(|name| hasher.field(name));
            let of = visit.metadata;
            for number in [of.dev(), of.ino(), of.mode().into(), of.nlink(), of.uid().into(), of.gid().into()] {
                hasher.number(number);
            }
            for number in [of.rdev(), of.size()] {
                hasher.number(number);
            }
            for number in [of.mtime(), of.mtime_nsec(), of.ctime(), of.ctime_nsec()] {
                hasher.number(number.cast_unsigned());
            }
            newest = newest.max(changed(of));
            Ok(())
        })?;
        Ok((hasher.finish(), newest))
    }

    /// Puts all that is in the directory into `root`.
    ///
    /// # Errors
    /// Something cannot be read.
    pub fn unpack(&self, root: &mut Root<'_>, progress: &mut dyn Progress) -> Result<()> {
        let mut links: HashMap<(u64, u64), Vec<Vec<u8>>> = HashMap::new();
        self.walk(&mut |visit| {
            let shown = || visit.path.display().to_string();
            let path: Vec<&[u8]> = visit.names.iter().map(Vec::as_slice).collect();
            let of = visit.metadata;
            let (tree, _) = root.parts();
            if !of.is_dir() && of.nlink() > 1 {
                if let Some(first) = links.get(&(of.dev(), of.ino())) {
                    let target: Vec<&[u8]> = first.iter().map(Vec::as_slice).collect();
                    tree.link(&path, &target).with_context(shown)?;
                    return Ok(());
                }
                links.insert((of.dev(), of.ino()), visit.names.to_vec());
            }
            let attributes = attributes(visit.path, of).with_context(shown)?;
            let kind = kind(visit.path, of, root).with_context(shown)?;
            progress.advance(if of.is_file() { of.size() } else { 0 });
            root.parts().0.insert(&path, attributes, kind).with_context(shown)?;
            Ok(())
        })
    }

    /// Comes to each file, the root first, a directory before what is in it, in the order of their names.
    fn walk(&self, visit: &mut dyn FnMut(&Visit<'_>) -> Result<()>) -> Result<()> {
        let metadata = fs::metadata(&self.path).with_context(|| self.path.display().to_string())?;
        ensure!(metadata.is_dir(), "{} is no directory", self.path.display());
        visit(&Visit { names: &[], path: &self.path, metadata: &metadata })?;
        let mut open = vec![entries(&self.path, self.most_entries)?];
        let (mut path, mut names, mut count) = (self.path.clone(), Vec::new(), 0);
        while let Some(names_here) = open.last_mut() {
            let Some(name) = names_here.next() else {
                open.pop();
                path.pop();
                names.pop();
                continue;
            };
            count += 1;
            ensure!(count <= self.most_entries, "more than {} files", self.most_entries);
            path.push(&name);
            names.push(name.into_vec());
            let metadata = path.symlink_metadata().with_context(|| path.display().to_string())?;
            visit(&Visit { names: &names, path: &path, metadata: &metadata })?;
            if metadata.is_dir() {
                open.push(entries(&path, self.most_entries)?);
            } else {
                path.pop();
                names.pop();
            }
        }
        Ok(())
    }
}

/// The names in a directory, sorted.
fn entries(path: &Path, most: usize) -> Result<std::vec::IntoIter<OsString>> {
    let shown = || path.display().to_string();
    let names = fs::read_dir(path).with_context(shown)?.take(most.saturating_add(1));
    let names: io::Result<Vec<_>> = names.map(|entry| entry.as_ref().map(DirEntry::file_name).map_err(copy)).collect();
    let mut names = names.with_context(shown)?;
    names.sort_unstable();
    Ok(names.into_iter())
}

fn copy(error: &io::Error) -> io::Error {
    error.raw_os_error().map_or_else(|| error.kind().into(), io::Error::from_raw_os_error)
}

/// When anything of a file changed last; its own time of change, which nobody can set.
pub(crate) fn changed(of: &Metadata) -> SystemTime {
    let seconds = Duration::from_secs(u64::try_from(of.ctime()).unwrap_or_default());
    let nanos = Duration::from_nanos(u64::try_from(of.ctime_nsec()).unwrap_or_default());
    SystemTime::UNIX_EPOCH.checked_add(seconds + nanos).unwrap_or(SystemTime::UNIX_EPOCH)
}

fn attributes(path: &Path, of: &Metadata) -> Result<Attributes> {
    Ok(Attributes {
        mode: u16::try_from(of.mode() & 0o7777)?,
        uid: of.uid(),
        gid: of.gid(),
        mtime: of.mtime(),
        mtime_nanos: u32::try_from(of.mtime_nsec())?,
        xattrs: extended(path)?,
    })
}

/// The extended attributes of a file itself, a link's too.
fn extended(path: &Path) -> Result<BTreeMap<Vec<u8>, Vec<u8>>> {
    let mut buffer = vec![0; MOST_ATTRIBUTE];
    let length = match rustix::fs::llistxattr(path, &mut buffer[..]) {
        Ok(length) => length,
        Err(Errno::NOTSUP | Errno::PERM) => 0,
        Err(error) => return Err(error).context("its extended attributes"),
    };
    let names = buffer.get(..length).unwrap_or_default().to_vec();
    let mut found = BTreeMap::new();
    for name in names.split(|byte| *byte == 0).filter(|name| erofs::is_kept(name)) {
        let length = match rustix::fs::lgetxattr(path, name, &mut buffer[..]) {
            Ok(length) => length,
            // It went away, or it is not for us to see.
            Err(Errno::NODATA | Errno::NOTSUP) => continue,
            Err(error) => return Err(error).with_context(|| format!("attribute {}", name.escape_ascii())),
        };
        found.insert(name.to_vec(), buffer.get(..length).unwrap_or_default().to_vec());
    }
    Ok(found)
}

fn kind(path: &Path, of: &Metadata, root: &mut Root<'_>) -> Result<Kind> {
    let (major, minor) = (rustix::fs::major(device(of)?), rustix::fs::minor(device(of)?));
    let kind = of.file_type();
    Ok(match () {
        () if kind.is_dir() => Kind::Directory,
        () if kind.is_file() => return content(path, of, root),
        () if kind.is_symlink() => Kind::Symlink(fs::read_link(path)?.as_os_str().as_bytes().to_vec()),
        () if kind.is_char_device() => Kind::CharacterDevice { major, minor },
        () if kind.is_block_device() => Kind::BlockDevice { major, minor },
        () if kind.is_fifo() => Kind::Fifo,
        () if kind.is_socket() => Kind::Socket,
        () => bail!("a file of an unknown kind"),
    })
}

fn device(of: &Metadata) -> Result<rustix::fs::Dev> {
    Ok(rustix::fs::Dev::try_from(of.rdev())?)
}

fn content(path: &Path, of: &Metadata, root: &mut Root<'_>) -> Result<Kind> {
    // It may have become something else since it was looked at: a pipe would wait for its writer.
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let file = File::options().read(true).custom_flags(flags.bits().cast_signed()).open(path)?;
    let now = file.metadata()?;
    let same = now.is_file() && (now.dev(), now.ino(), now.size()) == (of.dev(), of.ino(), of.size());
    ensure!(same, "it changed while it was read");
    let size = now.size();
    // Blocks are counted in units of 512 bytes, whatever the file system's are.
    let segments =
        if now.blocks().saturating_mul(512) >= size { vec![(0, size)] } else { segments(&file, size)? };
    let mut reader = SegmentReader { file: &file, segments: &segments, read: 0 };
    let content = root.parts().1.store_segments(size, &segments, &mut reader)?;
    Ok(Kind::File(content))
}

/// The parts of a file that are not holes.
fn segments(file: &File, size: u64) -> Result<Vec<(u64, u64)>> {
    let mut segments = Vec::new();
    let mut end = 0;
    while end < size {
        let start = match rustix::fs::seek(file, SeekFrom::Data(end)) {
            Ok(start) if start < size => start,
            Ok(_) | Err(Errno::NXIO) => break,
            // This file system knows of no holes.
            Err(Errno::INVAL) if end == 0 => return Ok(vec![(0, size)]),
            Err(error) => return Err(error.into()),
        };
        end = rustix::fs::seek(file, SeekFrom::Hole(start))?.min(size);
        ensure!(end > start && segments.len() < MOST_SEGMENTS, "more than {MOST_SEGMENTS} holes");
        segments.push((start, end - start));
    }
    Ok(segments)
}

/// The data of a sparse file, its segments one after the other.
struct SegmentReader<'a> {
    file: &'a File,
    segments: &'a [(u64, u64)],
    /// Bytes of the first segment that were read.
    read: u64,
}

impl Read for SegmentReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(((offset, size), rest)) = self.segments.split_first() {
            let left = size - self.read;
            if left == 0 {
                (self.segments, self.read) = (rest, 0);
                continue;
            }
            let most = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
            let count = self.file.read_at(&mut buffer[..most], offset + self.read)?;
            self.read += count as u64;
            return Ok(count);
        }
        Ok(0)
    }
}
