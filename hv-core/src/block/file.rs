//! `FileDisk`: a raw image file or a host's block device as a disk.

use std::{
    fmt,
    fs::{File, Metadata, OpenOptions, TryLockError},
    io::{self, Seek, SeekFrom},
    ops::Range,
    os::unix::fs::{FileExt, FileTypeExt},
    path::Path,
};

use anyhow::{Context, bail};

use super::{BlockBackend, SECTOR_SIZE};
use crate::memory::{GuestBuffer, volatile_io};

/// What hosts do with files each in their own way. Every method may answer `Unsupported`: there is a portable way.
pub trait FileHost: Send + Sync {
    /// Gives the space of `range` back; it then reads as zero.
    ///
    /// # Errors
    /// `Unsupported`, or why it failed.
    fn punch_hole(&self, file: &File, range: Range<u64>) -> io::Result<()> {
        let _ = (file, range);
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Makes `range` read as zero and keeps its space.
    ///
    /// # Errors
    /// `Unsupported`, or why it failed.
    fn zero_range(&self, file: &File, range: Range<u64>) -> io::Result<()> {
        let _ = (file, range);
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// A host that can do neither: zeroes are written, discards ignored.
#[derive(Debug, Clone, Copy, Default)]
pub struct PortableHost;

impl FileHost for PortableHost {}

/// A raw image file or a host's block device. Locked while open: one `hv` writes, or any number read.
pub struct FileDisk {
    file: File,
    capacity: u64,
    read_only: bool,
    host: Box<dyn FileHost>,
}

impl FileDisk {
    /// Opens and locks the disk at `path`.
    ///
    /// # Errors
    /// One line that names the path, what is wrong with it and what to do.
    pub fn open(path: &Path, read_only: bool, host: impl FileHost + 'static) -> anyhow::Result<Self> {
        let shown = path.display();
        let metadata = path.metadata().map_err(|error| not_opened(path, read_only, &error))?;
        check_type(path, &metadata)?;
        let mut file = OpenOptions::new()
            .read(true)
            .write(!read_only)
            .open(path)
            .map_err(|error| not_opened(path, read_only, &error))?;
        lock(path, &file, read_only)?;
        // The size of a block device is not in its metadata.
        let capacity =
            file.seek(SeekFrom::End(0)).with_context(|| format!("disk {shown}: its size is unknown"))?;
        if capacity == 0 {
            bail!("disk {shown} is empty; give it a size, as `truncate -s 10G` does");
        }
        if !capacity.is_multiple_of(SECTOR_SIZE) {
            bail!(
                "disk {shown} has {capacity} bytes, not a multiple of {SECTOR_SIZE}: is it a raw disk image?"
            );
        }
        Ok(Self { file, capacity, read_only, host: Box::new(host) })
    }

    fn zero_by_writing(&self, range: Range<u64>) -> io::Result<()> {
        static ZEROES: [u8; 64 << 10] = [0; 64 << 10];
        let mut at = range.start;
        while at < range.end {
            let len = (range.end - at).min(ZEROES.len() as u64);
            // At most ZEROES.len(), by the line above.
            self.file.write_all_at(&ZEROES[..usize::try_from(len).unwrap_or(0)], at)?;
            at += len;
        }
        Ok(())
    }
}

fn check_type(path: &Path, metadata: &Metadata) -> anyhow::Result<()> {
    let shown = path.display();
    if metadata.is_dir() {
        bail!("disk {shown} is a directory; give a raw disk image or a block device");
    }
    if !metadata.is_file() && !metadata.file_type().is_block_device() {
        bail!("disk {shown} is neither a file nor a block device; give a raw disk image");
    }
    Ok(())
}

fn not_opened(path: &Path, read_only: bool, error: &io::Error) -> anyhow::Error {
    let shown = path.display();
    match error.kind() {
        io::ErrorKind::NotFound => anyhow::anyhow!("disk {shown} does not exist; check the path"),
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem if !read_only => {
            anyhow::anyhow!(
                "disk {shown} may not be written ({error}); add `,readonly` or change its permissions"
            )
        }
        io::ErrorKind::PermissionDenied => {
            anyhow::anyhow!("disk {shown} may not be read ({error}); change its permissions")
        }
        _ => anyhow::anyhow!("disk {shown} cannot be opened: {error}"),
    }
}

fn lock(path: &Path, file: &File, read_only: bool) -> anyhow::Result<()> {
    let locked = if read_only { file.try_lock_shared() } else { file.try_lock() };
    let shown = path.display();
    match locked {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) if read_only => {
            bail!("disk {shown} is already open for writing by another hv; stop that one first")
        }
        Err(TryLockError::WouldBlock) => {
            bail!(
                "disk {shown} is already open by another hv; stop that one first, or add `,readonly` to both"
            )
        }
        Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {
            tracing::warn!("disk {shown}: its file system has no locks; nothing keeps a second hv off it");
            Ok(())
        }
        Err(TryLockError::Error(error)) => bail!("disk {shown} cannot be locked: {error}"),
    }
}

impl BlockBackend for FileDisk {
    fn capacity(&self) -> u64 {
        self.capacity
    }

    fn read_only(&self) -> bool {
        self.read_only
    }

    fn read_at(&self, offset: u64, buffer: GuestBuffer<'_>) -> io::Result<()> {
        volatile_io::read_at(&self.file, offset, buffer)
    }

    fn write_at(&self, offset: u64, buffer: GuestBuffer<'_>) -> io::Result<()> {
        volatile_io::write_at(&self.file, offset, buffer)
    }

    /// `sync_data` is the host's strongest: `fdatasync`, or on Apple's systems a flush of the drive's own cache.
    fn flush(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn discard(&self, range: Range<u64>) -> io::Result<()> {
        // No host takes an empty range.
        if range.is_empty() {
            return Ok(());
        }
        match self.host.punch_hole(&self.file, range) {
            Err(error) if error.kind() == io::ErrorKind::Unsupported => Ok(()),
            done => done,
        }
    }

    fn write_zeroes(&self, range: Range<u64>, may_unmap: bool) -> io::Result<()> {
        if range.is_empty() {
            return Ok(());
        }
        let zeroed = if may_unmap {
            self.host.punch_hole(&self.file, range.clone())
        } else {
            self.host.zero_range(&self.file, range.clone())
        };
        match zeroed {
            Err(error) if error.kind() == io::ErrorKind::Unsupported => self.zero_by_writing(range),
            done => done,
        }
    }
}

impl fmt::Debug for FileDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, capacity, read_only, host: _ } = self;
        write!(f, "FileDisk({file:?}, {capacity} bytes, read_only: {read_only})")
    }
}

#[cfg(test)]
mod tests;
