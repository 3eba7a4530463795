//! A tar archive of a root, plain or packed, as an image of one layer.

use std::{
    fs::File,
    io::{self, Read},
    sync::Arc,
};

use anyhow::{Result, bail};

use super::{Document, FileStream, Source};
use crate::{
    Architecture, Descriptor, Digest, Progress,
    digest::HashingReader,
    manifest::{Manifest, OCI_LAYER, OCI_MANIFEST, ROOT_CONFIG},
};

/// A tar archive of a root.
#[derive(Debug)]
pub struct PlainTar {
    file: Arc<File>,
    manifest: Vec<u8>,
    config: Vec<u8>,
}

impl PlainTar {
    /// The archive in `file`, a root for `architecture`; it is read once, for its digest.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn new(file: File, architecture: Architecture, progress: &mut dyn Progress) -> Result<Self> {
        let file = Arc::new(file);
        progress.begin("reading the archive", Some(file.metadata()?.len()));
        let mut reader = HashingReader::new(FileStream::new(Arc::clone(&file), 0)?);
        let mut buffer = vec![0; 128 << 10];
        loop {
            match reader.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => progress.advance(count as u64),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        progress.end();
        let (digest, size) = reader.finish();
        let config = format!(r#"{{"architecture":"{}","os":"linux"}}"#, architecture.image_name()).into_bytes();
        let manifest = Manifest {
            schema_version: 2,
            media_type: OCI_MANIFEST.to_owned(),
            config: Descriptor::of(ROOT_CONFIG, &config),
            layers: vec![Descriptor { digest, size, ..Descriptor::of(OCI_LAYER, b"") }],
        };
        Ok(Self { file, manifest: serde_json::to_vec(&manifest)?, config })
    }
}

impl Source for PlainTar {
    fn top(&mut self) -> Result<Document> {
        let bytes = self.manifest.clone();
        Ok(Document { media_type: OCI_MANIFEST.to_owned(), digest: Digest::of(&bytes), bytes })
    }

    fn manifest(&mut self, descriptor: &Descriptor) -> Result<Document> {
        bail!("{} is not in the archive", descriptor.digest)
    }

    fn blob(&mut self, descriptor: &Descriptor, offset: u64) -> Result<Box<dyn Read + Send + '_>> {
        if descriptor.digest == Digest::of(&self.config) {
            return Ok(Box::new(self.config.get(usize::try_from(offset)?..).unwrap_or_default()));
        }
        Ok(Box::new(FileStream::new(Arc::clone(&self.file), offset)?))
    }
}
