//! What an image is read from: the interface of registries, layouts and archives.

mod detect;
mod directory;
mod docker;
mod layout;
mod members;
mod plain;

use std::io::Read;

use anyhow::{Result, bail, ensure};

use crate::{Descriptor, Digest, manifest::MOST_DOCUMENT};

pub use detect::{PathKind, open_unpacked};
pub use directory::Directory;
pub(crate) use directory::{TICK, changed};
pub use docker::{DockerArchive, SavedImage, parse_manifest};
pub use layout::Layout;
pub use members::{FileStream, Members};
pub use plain::PlainTar;

/// A manifest, an index or a configuration as its source gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// What the source calls it; may be empty.
    pub media_type: String,
    /// The digest that the source was asked for or that it names; the reader checks it.
    pub digest: Digest,
    /// The document, at most [`MOST_DOCUMENT`] bytes.
    pub bytes: Vec<u8>,
}

/// Where an image's manifests and blobs come from.
pub trait Source {
    /// The manifest or index that the source was asked for.
    ///
    /// # Errors
    /// The source has none, or cannot be read.
    fn top(&mut self) -> Result<Document>;

    /// A manifest that an index names.
    ///
    /// # Errors
    /// The source lacks it, or cannot be read.
    fn manifest(&mut self, descriptor: &Descriptor) -> Result<Document>;

    /// A blob's bytes from `offset` on. Who reads them checks length and digest.
    ///
    /// # Errors
    /// The source lacks it, or cannot be read.
    fn blob(&mut self, descriptor: &Descriptor, offset: u64) -> Result<Box<dyn Read + Send + '_>>;

    /// Whether an interrupted blob is worth keeping, to go on with it later.
    fn resumable(&self) -> bool {
        false
    }
}

/// Hears how far something has come.
pub trait Progress {
    /// `what` begins, with that many bytes to come where that is known.
    fn begin(&mut self, what: &str, bytes: Option<u64>);

    /// So many more bytes are done.
    fn advance(&mut self, bytes: u64);

    /// What was begun last is over.
    fn end(&mut self);
}

/// Tells nobody.
#[derive(Debug, Clone, Copy, Default)]
pub struct Quiet;

impl Progress for Quiet {
    fn begin(&mut self, _: &str, _: Option<u64>) {}
    fn advance(&mut self, _: u64) {}
    fn end(&mut self) {}
}

/// Reads a whole small document and checks it against its descriptor.
///
/// # Errors
/// It is larger than [`MOST_DOCUMENT`], cannot be read, or is not what the descriptor says.
pub fn read_document(reader: &mut dyn Read, descriptor: &Descriptor) -> Result<Vec<u8>> {
    let Descriptor { digest, size, .. } = descriptor;
    ensure!(*size <= MOST_DOCUMENT, "{digest}: {size} bytes, where at most {MOST_DOCUMENT} are allowed");
    let mut bytes = Vec::new();
    reader.take(size + 1).read_to_end(&mut bytes)?;
    check(&bytes, descriptor)?;
    Ok(bytes)
}

/// Checks `bytes` against their descriptor.
///
/// # Errors
/// Size or digest differ; both are named.
pub fn check(bytes: &[u8], descriptor: &Descriptor) -> Result<()> {
    check_size(bytes.len() as u64, descriptor)?;
    check_digest(Digest::of(bytes), descriptor.digest)
}

/// Checks the size of a blob.
///
/// # Errors
/// It is another than the descriptor's.
pub fn check_size(found: u64, descriptor: &Descriptor) -> Result<()> {
    let Descriptor { digest, size, .. } = descriptor;
    if found < *size {
        bail!("{digest}: ends after {found} bytes of {size}");
    }
    ensure!(found == *size, "{digest}: goes on after its {size} bytes");
    Ok(())
}

/// Checks a digest.
///
/// # Errors
/// It is another than the promised; both are named.
pub fn check_digest(found: Digest, promised: Digest) -> Result<()> {
    ensure!(
        found == promised,
        "content that should have the digest {promised} has {found}: it is damaged or forged"
    );
    Ok(())
}
