//! Files that several processes use at once: locks, and names that always lead to whole files.

use std::{
    fs::{self, DirBuilder, File, Metadata, TryLockError},
    io::{self, ErrorKind, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt},
    path::Path,
};

use anyhow::{Context, Result};

/// Makes a folder that only its owner can look into, and what is above it.
pub(crate) fn create_private(path: &Path) -> Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).with_context(|| path.display().to_string())
}

/// Opens the file at `path`, makes it if it is not there, and locks it. `waits` is called once if somebody else has it.
pub(crate) fn lock_exclusive(path: &Path, waits: impl FnOnce()) -> Result<File> {
    let mut waits = Some(waits);
    loop {
        let file = File::options().read(true).write(true).create(true).truncate(false).open(path);
        let file = file.with_context(|| path.display().to_string())?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                if let Some(waits) = waits.take() {
                    waits();
                }
                file.lock().with_context(|| path.display().to_string())?;
            }
            Err(TryLockError::Error(error)) => return Err(error).with_context(|| path.display().to_string()),
        }
        if leads_to(path, &file)? {
            return Ok(file);
        }
    }
}

/// Opens the file at `path` for reading and takes a part in its lock; nothing if it is not there.
pub(crate) fn open_shared(path: &Path) -> Result<Option<File>> {
    let Some(file) = missing_is_none(File::open(path)).with_context(|| path.display().to_string())? else {
        return Ok(None);
    };
    file.lock_shared().with_context(|| path.display().to_string())?;
    Ok(leads_to(path, &file)?.then_some(file))
}

/// Takes the file at `path` away if nobody has a lock on it; the bytes that it took on the disk.
pub(crate) fn remove_unlocked(path: &Path) -> Result<Option<u64>> {
    let shown = || path.display().to_string();
    let Some(file) = missing_is_none(File::open(path)).with_context(shown)? else { return Ok(None) };
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(None),
        Err(TryLockError::Error(error)) => return Err(error).with_context(shown),
    }
    if !leads_to(path, &file)? {
        return Ok(None);
    }
    let bytes = allocated(&file.metadata().with_context(shown)?);
    fs::remove_file(path).with_context(shown)?;
    Ok(Some(bytes))
}

/// Bytes that a file takes on the disk.
pub(crate) fn allocated(metadata: &Metadata) -> u64 {
    metadata.blocks().saturating_mul(512)
}

/// Whether the name `path` still leads to this file.
pub(crate) fn leads_to(path: &Path, file: &File) -> Result<bool> {
    let shown = || path.display().to_string();
    let Some(there) = missing_is_none(path.symlink_metadata()).with_context(shown)? else { return Ok(false) };
    let own = file.metadata().with_context(shown)?;
    Ok((there.dev(), there.ino()) == (own.dev(), own.ino()))
}

/// Gives a file that is complete the name `path`, for good.
pub(crate) fn publish(file: &File, from: &Path, path: &Path) -> Result<()> {
    let shown = || path.display().to_string();
    file.set_permissions(fs::Permissions::from_mode(0o400)).with_context(shown)?;
    file.sync_all().with_context(shown)?;
    fs::rename(from, path).with_context(shown)?;
    sync_parent(path)
}

/// Writes a small file in one go: whoever looks sees all of it or what was there before. Only under the store's lock.
pub(crate) fn write(temporary: &Path, path: &Path, bytes: &[u8]) -> Result<()> {
    let shown = || path.display().to_string();
    let mut file = File::create(temporary).with_context(shown)?;
    file.write_all(bytes).with_context(shown)?;
    file.sync_all().with_context(shown)?;
    fs::rename(temporary, path).with_context(shown)?;
    sync_parent(path)
}

/// Takes a file away, for good; whether there was one.
pub(crate) fn remove(path: &Path) -> Result<bool> {
    let removed = missing_is_none(fs::remove_file(path)).with_context(|| path.display().to_string())?;
    if removed.is_some() {
        sync_parent(path)?;
    }
    Ok(removed.is_some())
}

/// Reads a file of at most `most` bytes; nothing if it is not there.
pub(crate) fn read(path: &Path, most: u64) -> Result<Option<Vec<u8>>> {
    let shown = || path.display().to_string();
    let Some(file) = missing_is_none(File::open(path)).with_context(shown)? else { return Ok(None) };
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes).with_context(shown)?;
    Ok(Some(bytes))
}

/// The names of the files in a folder.
pub(crate) fn names(folder: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let entry = entry.with_context(|| folder.display().to_string())?;
        // We write no others.
        names.extend(entry.file_name().into_string().ok());
    }
    names.sort_unstable();
    Ok(names)
}

fn sync_parent(path: &Path) -> Result<()> {
    let Some(parent) = path.parent() else { return Ok(()) };
    File::open(parent).and_then(|folder| folder.sync_all()).with_context(|| parent.display().to_string())
}

fn missing_is_none<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
