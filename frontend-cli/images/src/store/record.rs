//! What names stand for, and the small documents behind them.

use std::{
    collections::BTreeMap,
    fs::File,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::{Store, files, now};
use crate::{
    Architecture, Digest,
    manifest::MOST_DOCUMENT,
    source::{TICK, changed},
};

/// Bytes in the file of a name.
const MOST_RECORD: u64 = 1 << 20;

/// What a name stands for.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Record {
    /// The name.
    pub(super) reference: String,
    /// The unpacked images.
    pub(super) images: BTreeMap<Architecture, Cached>,
}

/// An image that was unpacked.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Cached {
    /// Of what the source gave for the name.
    pub(super) top: Digest,
    /// Of the image's manifest: the name of its root.
    pub(super) manifest: Digest,
    /// Of its configuration; a directory has none.
    pub(super) config: Option<Digest>,
    /// Bytes that the root takes on the disk.
    pub(super) size: u64,
    /// As its configuration has it.
    pub(super) created: Option<String>,
    /// Seconds since 1970.
    pub(super) unpacked: u64,
    /// The file that it was imported from.
    pub(super) stamp: Option<Stamp>,
}

impl Cached {
    /// What is known of the root in `file` with this digest.
    pub(super) fn of(digest: Digest, file: &File) -> Result<Self> {
        let size = files::allocated(&file.metadata()?);
        Ok(Self {
            top: digest,
            manifest: digest,
            config: None,
            size,
            created: None,
            unpacked: now(),
            stamp: None,
        })
    }
}

/// What shows that a file is still the same, without reading it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
    /// Which of several images in it was asked for.
    #[serde(default)]
    selected: Option<String>,
}

impl Stamp {
    /// The stamp of the file at `path`; none if it is no file, or if it changed so lately that one more change might not
    /// show.
    pub(super) fn of(path: &Path, selected: Option<&str>) -> Result<Option<Self>> {
        let of = path.metadata().with_context(|| path.display().to_string())?;
        let age = SystemTime::now().duration_since(changed(&of)).unwrap_or(Duration::ZERO);
        let stamp = Self {
            device: of.dev(),
            inode: of.ino(),
            size: of.size(),
            modified: (of.mtime(), of.mtime_nsec()),
            changed: (of.ctime(), of.ctime_nsec()),
            selected: selected.map(str::to_owned),
        };
        Ok((of.is_file() && age >= TICK).then_some(stamp))
    }
}

impl Store {
    /// What `name` stands for.
    pub(super) fn record(&self, name: &str) -> Result<Option<Record>> {
        let path = self.record_path(name);
        let bytes = files::read(&path, MOST_RECORD)?;
        // What cannot be read is as good as not there: this is a cache.
        Ok(bytes
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .filter(|record: &Record| record.reference == name))
    }

    /// What all names stand for.
    pub(super) fn records(&self) -> Result<Vec<Record>> {
        let folder = self.folder.join("references");
        let mut records = Vec::new();
        for name in files::names(&folder)? {
            let Some(bytes) = files::read(&folder.join(&name), MOST_RECORD)? else { continue };
            match serde_json::from_slice(&bytes) {
                Ok(record) => records.push(record),
                Err(error) => tracing::warn!("{}: {error}", folder.join(name).display()),
            }
        }
        Ok(records)
    }

    /// Lets `name` stand for what `cached` says, for one architecture, and keeps the documents behind it.
    pub(super) fn publish(
        &self,
        name: &str,
        architecture: Architecture,
        cached: Cached,
        documents: &[&[u8]],
    ) -> Result<()> {
        let _lock = self.lock()?;
        for bytes in documents {
            let digest = Digest::of(bytes);
            self.write(digest, &self.blob_path(digest), bytes)?;
        }
        let mut record = self
            .record(name)?
            .unwrap_or_else(|| Record { reference: name.to_owned(), images: BTreeMap::new() });
        record.images.insert(architecture, cached);
        let bytes = serde_json::to_vec_pretty(&record)?;
        self.write(Digest::of(name.as_bytes()), &self.record_path(name), &bytes)
    }

    fn write(&self, digest: Digest, path: &Path, bytes: &[u8]) -> Result<()> {
        files::write(&self.folder.join("tmp").join(format!("{}.new", digest.hex())), path, bytes)
    }

    /// A document that was kept; nothing if it is not there or damaged.
    pub(super) fn blob(&self, digest: Digest) -> Result<Option<Vec<u8>>> {
        let bytes = files::read(&self.blob_path(digest), MOST_DOCUMENT)?;
        Ok(bytes.filter(|bytes| Digest::of(bytes) == digest))
    }

    pub(super) fn record_path(&self, name: &str) -> PathBuf {
        self.folder.join("references").join(format!("{}.json", Digest::of(name.as_bytes()).hex()))
    }
}
