//! Locks that end with the process that holds them.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io,
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use anyhow::Context;
use hv_sandbox::{Access, Place};

use super::LOCK;

/// The lock for changes of which guests there are; no guest's name begins with a dot.
const ALL: &str = ".lock";

/// Held while the guests in a folder are looked for to be changed.
#[derive(Debug)]
pub(super) struct Changing {
    _file: File,
}

impl Changing {
    /// Waits until no other `hv` changes which guests there are in `folder`.
    pub(super) fn begin(folder: &Path) -> anyhow::Result<Self> {
        let path = folder.join(ALL);
        let file = open(&path, true).with_context(|| format!("{} cannot be opened", path.display()))?;
        file.lock().with_context(|| format!("{} cannot be locked", path.display()))?;
        Ok(Self { _file: file })
    }
}

/// What of `folder` is needed to take a guest off the list.
pub(super) fn sandbox_places(folder: &Path) -> Vec<Place> {
    vec![Place::new(folder.join(ALL), Access::Write), Place::new(folder, Access::RemoveFolders)]
}

/// Takes the lock of the guest in `folder` for as long as the file is open; nothing if another process has it.
pub(super) fn take(folder: &Path) -> io::Result<Option<File>> {
    let file = open(&folder.join(LOCK), true)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Whether a process has the lock of the guest in `folder`. Looking does not hold others up, who share the look.
pub(super) fn is_held(folder: &Path) -> bool {
    let file = open(&folder.join(LOCK), false);
    file.is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

fn open(path: &Path, create: bool) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(create).truncate(false).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_held_until_its_file_is_closed() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!is_held(folder.path()), "there is none");
        let held = take(folder.path()).unwrap().unwrap();
        assert!(is_held(folder.path()));
        assert!(take(folder.path()).unwrap().is_none());
        drop(held);
        assert!(!is_held(folder.path()));
        assert!(take(folder.path()).unwrap().is_some());
    }
}
