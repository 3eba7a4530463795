//! An image of the cache, ready to be run.

use std::{
    fs::File,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use crate::{Architecture, Config, Digest, store::files};

/// An image whose root is unpacked.
#[derive(Debug, Clone)]
pub struct Image {
    /// What it was asked for as, completed.
    pub reference: String,
    /// The digest of its manifest; of a directory's listing where it is one.
    pub digest: Digest,
    /// What it runs on.
    pub architecture: Architecture,
    /// How it is run.
    pub config: Config,
    pub(crate) root: PathBuf,
}

impl Image {
    /// The file with the root's file system, EROFS. Who runs the image takes [`Image::open_root`].
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Opens the root for reading, and keeps the garbage collection away from it until the file is closed in all
    /// processes that have it.
    ///
    /// # Errors
    /// It went away since the image was looked up.
    pub fn open_root(&self) -> Result<File> {
        files::open_shared(&self.root)?
            .with_context(|| format!("{} was removed meanwhile: pull or import it again", self.reference))
    }
}
