//! Layers on their way from a source that breaks off now and then: what came is kept, and gone on with.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom, Write},
    path::PathBuf,
};

use anyhow::{Context, Result, bail};

use super::{Store, files};
use crate::{Descriptor, Progress, digest::HashingReader};

/// What came of a layer; locked.
pub(super) struct Part {
    path: PathBuf,
    file: File,
    kept: u64,
}

impl Store {
    /// What came of a layer before. Who has no more use for it takes [`Store::remove_parts`].
    pub(super) fn part(&self, descriptor: &Descriptor, progress: &mut dyn Progress) -> Result<Part> {
        let path = self.part_path(descriptor);
        let waits = || progress.begin("waiting for another process that fetches it", Some(descriptor.size));
        let file = files::lock_exclusive(&path, waits)?;
        let shown = || path.display().to_string();
        let kept = file.metadata().with_context(shown)?.len();
        // More than the layer has cannot be right.
        let kept = if kept > descriptor.size { 0 } else { kept };
        file.set_len(kept).with_context(shown)?;
        Ok(Part { path, file, kept })
    }

    /// Takes away what came of these layers, unless another process is at work on them.
    pub(super) fn remove_parts(&self, layers: &[Descriptor]) {
        for descriptor in layers {
            let path = self.part_path(descriptor);
            if let Err(error) = files::remove_unlocked(&path) {
                tracing::warn!("{error:#}");
            }
        }
    }

    fn part_path(&self, descriptor: &Descriptor) -> PathBuf {
        self.blob_path(descriptor.digest).with_extension("part")
    }
}

impl Part {
    /// Bytes that came before.
    pub(super) fn kept(&self) -> u64 {
        self.kept
    }

    /// What came before and then `rest`, which is kept as it comes.
    pub(super) fn reader<'a>(&'a mut self, rest: Box<dyn Read + Send + 'a>) -> Result<impl Read + Send + 'a> {
        self.file.seek(SeekFrom::Start(0))?;
        Ok(Kept { file: &self.file, left: self.kept, rest })
    }

    /// Forgets what came if it is all there and wrong, so that nobody goes on with it.
    pub(super) fn check(self, descriptor: &Descriptor) -> Result<()> {
        if self.file.metadata()?.len() < descriptor.size {
            return Ok(());
        }
        (&self.file).seek(SeekFrom::Start(0))?;
        let mut reader = HashingReader::new(&self.file);
        io::copy(&mut reader, &mut io::sink())?;
        let (digest, size) = reader.finish();
        if (digest, size) == (descriptor.digest, descriptor.size) {
            return Ok(());
        }
        files::remove(&self.path)?;
        if self.kept > 0 {
            bail!(
                "layer {}: what was kept of it, and gone on with, has the digest {digest}: pull the image again",
                descriptor.digest
            );
        }
        Ok(())
    }
}

struct Kept<'a> {
    file: &'a File,
    /// Bytes that came before, and were not yet read.
    left: u64,
    rest: Box<dyn Read + Send + 'a>,
}

impl Read for Kept<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left > 0 {
            let count = self.file.take(self.left).read(buffer)?;
            if count == 0 && !buffer.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.left -= count as u64;
            return Ok(count);
        }
        let count = self.rest.read(buffer)?;
        self.file.write_all(buffer.get(..count).unwrap_or_default())?;
        Ok(count)
    }
}
