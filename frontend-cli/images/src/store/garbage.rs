//! Takes away what no name leads to, nobody runs, and nobody works on.

use std::{collections::HashSet, path::Path};

use anyhow::Result;
use serde::Serialize;

use super::{Store, files};
use crate::Digest;

/// What a collection of garbage took away.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Freed {
    /// Bytes that the files took on the disk.
    pub bytes: u64,
    /// How many they were.
    pub count: u64,
}

impl Store {
    /// Takes away roots that no name leads to and nobody runs, documents that no name leads to, and what processes
    /// that died left.
    ///
    /// # Errors
    /// The cache cannot be read or changed.
    pub fn collect_garbage(&self) -> Result<Freed> {
        // Names do not change meanwhile. Who made a root has it locked until a name leads to it.
        let _lock = self.lock()?;
        let (mut roots, mut blobs) = (HashSet::new(), HashSet::new());
        for record in self.records()? {
            for cached in record.images.into_values() {
                roots.insert(format!("{}.erofs", cached.manifest.hex()));
                let documents = [Some(cached.top), Some(cached.manifest), cached.config];
                blobs.extend(documents.iter().flatten().map(Digest::hex));
            }
        }
        let mut freed = Freed::default();
        freed.sweep(&self.folder.join("roots/sha256"), &roots)?;
        freed.sweep(&self.folder.join("blobs/sha256"), &blobs)?;
        freed.sweep(&self.folder.join("tmp"), &HashSet::new())?;
        Ok(freed)
    }
}

impl Freed {
    /// Takes away the files in `folder` that are not in `live` and that nobody has locked.
    fn sweep(&mut self, folder: &Path, live: &HashSet<String>) -> Result<()> {
        for name in files::names(folder)?.into_iter().filter(|name| !live.contains(name)) {
            if let Some(bytes) = files::remove_unlocked(&folder.join(name))? {
                self.bytes += bytes;
                self.count += 1;
            }
        }
        Ok(())
    }
}
