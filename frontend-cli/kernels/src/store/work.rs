//! `Work`: a folder of one writer in the store, which is gone when the writer is, or soon after.

use std::{
    fs::{self, File, TryLockError},
    path::PathBuf,
};

use anyhow::{Context, Result};
use tempfile::TempDir;

use super::Store;

const PREFIX: &str = ".work-";
/// Locked as long as its writer lives.
const LOCK: &str = "lock";

/// A folder of one writer, `.work-*`.
pub(super) struct Work {
    folder: TempDir,
    _lock: File,
}

impl Work {
    /// Makes one, and removes those whose writers were killed.
    pub(super) fn begin(store: &Store) -> Result<Self> {
        // Nobody else looks at a new folder before its lock is held.
        let _names = store.lock()?;
        sweep(store);
        let context = || format!("cannot make a folder in {}", store.folder.display());
        let folder =
            tempfile::Builder::new().prefix(PREFIX).tempdir_in(&store.folder).with_context(context)?;
        let lock = File::create_new(folder.path().join(LOCK)).with_context(context)?;
        lock.lock().with_context(context)?;
        fs::create_dir(folder.path().join("kernel")).with_context(context)?;
        Ok(Self { folder, _lock: lock })
    }

    /// Where a kernel is made.
    pub(super) fn folder(&self) -> PathBuf {
        self.folder.path().join("kernel")
    }

    /// Where a kernel goes that is removed.
    pub(super) fn removed(&self) -> PathBuf {
        self.folder.path().join("removed")
    }

    /// A file without a name.
    pub(super) fn spool(&self) -> Result<File> {
        let folder = self.folder.path();
        tempfile::tempfile_in(folder).with_context(|| format!("cannot make a file in {}", folder.display()))
    }

    /// Removes it, and says if that fails.
    pub(super) fn end(self) -> Result<()> {
        let path = self.folder.path().to_owned();
        self.folder.close().with_context(|| format!("cannot remove {}", path.display()))
    }
}

/// Removes folders whose writers are gone. The store's lock is held.
fn sweep(store: &Store) {
    let Ok(entries) = fs::read_dir(&store.folder) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if !name.starts_with(PREFIX) {
            continue;
        }
        let held = File::open(path.join(LOCK)).map(|lock| lock.try_lock());
        if matches!(held, Ok(Err(TryLockError::WouldBlock))) {
            continue;
        }
        if let Err(error) = fs::remove_dir_all(&path) {
            tracing::warn!("cannot remove {}: {error}", path.display());
        }
    }
}
