//! The cache of unpacked images, in a folder that any number of processes use at once.
//!
//! ```text
//! blobs/sha256/HEX         manifests, indexes and configurations
//! blobs/sha256/HEX.part    a layer, as far as it came; locked by who fetches it
//! roots/sha256/HEX.erofs   unpacked roots by the digests of their manifests; share-locked by who runs them
//! references/HEX.json      what a name stands for; HEX is the digest of the name
//! tmp/HEX.lock             locked by who unpacks the root of that name
//! tmp/HEX.erofs            what it has so far; locked as well, until it is a root and a name leads to it
//! tmp/HEX.new              a small file that is being written, under the lock of the store
//! lock                     locked, shortly, by who changes references or collects garbage
//! ```
//!
//! Files appear under their names by renaming, complete and flushed. Locks are `flock`s: the kernel takes them from a
//! process that dies. Who gets a lock on a file then looks whether the name still leads to that file.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    time::SystemTime,
};

use anyhow::{Context, Result};
use serde::Serialize;

use crate::{Architecture, Config, Digest, Image, Limits, Reference, config};

pub(crate) mod files;
mod garbage;
mod import;
mod part;
mod pull;
mod record;
#[cfg(test)]
mod tests;

pub use garbage::Freed;

use record::Cached;

/// In front of the path in the names of images that were imported without one.
const PATH: &str = "path:";

/// The cache of images.
#[derive(Debug, Clone)]
pub struct Store {
    folder: PathBuf,
    limits: Limits,
}

/// An image as it is listed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Listed {
    /// Its name, completed; `path:` and a path where it was imported without one.
    pub reference: String,
    /// What it runs on.
    pub architecture: Architecture,
    /// The digest of its manifest.
    pub digest: Digest,
    /// Bytes that its root takes.
    pub size: u64,
    /// When the image was made (RFC 3339), as it says itself.
    pub created: Option<String>,
    /// When it was unpacked here, seconds since 1970.
    pub unpacked: u64,
    /// Whether its root is there.
    pub complete: bool,
}

impl Store {
    /// The cache in `folder`, which is made if it is not there.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn open(folder: &Path) -> Result<Self> {
        let store = Self { folder: folder.to_owned(), limits: Limits::default() };
        files::create_private(folder)?;
        for part in ["blobs/sha256", "roots/sha256", "references", "tmp"] {
            let path = folder.join(part);
            fs::create_dir_all(&path).with_context(|| path.display().to_string())?;
        }
        Ok(store)
    }

    /// The same with other limits for what is pulled and imported.
    #[must_use]
    pub fn with_limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// The image called `name` for `architecture`, if the cache has it.
    ///
    /// # Errors
    /// `name` is none, or the cache cannot be read.
    pub fn find(&self, name: &str, architecture: Architecture) -> Result<Option<Image>> {
        let name = complete(name)?;
        let Some(record) = self.record(&name)? else { return Ok(None) };
        record.images.get(&architecture).map_or(Ok(None), |cached| self.image(&name, architecture, cached))
    }

    /// All images, by name and architecture.
    ///
    /// # Errors
    /// The cache cannot be read.
    pub fn list(&self) -> Result<Vec<Listed>> {
        let mut listed = Vec::new();
        for record in self.records()? {
            for (architecture, cached) in record.images {
                listed.push(Listed {
                    reference: record.reference.clone(),
                    architecture,
                    digest: cached.manifest,
                    size: cached.size,
                    created: cached.created,
                    unpacked: cached.unpacked,
                    complete: self.root_path(cached.manifest).is_file(),
                });
            }
        }
        listed.sort_unstable();
        Ok(listed)
    }

    /// Forgets what `reference` stands for; whether it stood for anything. Its root goes with the next
    /// [`Store::collect_garbage`], if no other name leads to it and no guest runs it.
    ///
    /// # Errors
    /// `reference` is no name, or the cache cannot be changed.
    pub fn remove(&self, reference: &str) -> Result<bool> {
        let name = complete(reference)?;
        let _lock = self.lock()?;
        files::remove(&self.record_path(&name))
    }

    fn image(&self, name: &str, architecture: Architecture, cached: &Cached) -> Result<Option<Image>> {
        if !self.root_path(cached.manifest).is_file() {
            return Ok(None);
        }
        let config = match cached.config {
            Some(digest) => match self.blob(digest)? {
                Some(bytes) => config::parse(&bytes)?.config,
                None => return Ok(None),
            },
            None => Config::default(),
        };
        Ok(Some(self.make_image(name, architecture, cached.manifest, config)))
    }

    fn make_image(&self, name: &str, architecture: Architecture, digest: Digest, config: Config) -> Image {
        Image { reference: name.to_owned(), digest, architecture, config, root: self.root_path(digest) }
    }

    fn root_path(&self, digest: Digest) -> PathBuf {
        self.folder.join("roots/sha256").join(format!("{}.erofs", digest.hex()))
    }

    fn blob_path(&self, digest: Digest) -> PathBuf {
        self.folder.join("blobs/sha256").join(digest.hex())
    }

    fn lock(&self) -> Result<File> {
        files::lock_exclusive(&self.folder.join("lock"), || {})
    }
}

/// The name under which the cache knows what is called `name`.
fn complete(name: &str) -> Result<String> {
    if name.starts_with(PATH) {
        return Ok(name.to_owned());
    }
    Ok(name.parse::<Reference>()?.to_string())
}

/// Seconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
