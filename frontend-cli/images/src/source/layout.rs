//! An OCI image layout: a directory, or a tar archive of one (OCI image specification, `image-layout.md`).

use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
    os::unix::fs::FileTypeExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};

use super::{Document, Source, members::Members, read_document};
use crate::{
    Descriptor, Digest,
    manifest::{self, MOST_DOCUMENT, OCI_INDEX, Parsed},
    reference,
};

/// The annotation with an image's tag or whole name.
const NAME: &str = "org.opencontainers.image.ref.name";
/// The same, of containerd and of newer Dockers: the whole name.
const WHOLE_NAME: &str = "io.containerd.image.name";

/// An OCI image layout.
#[derive(Debug)]
pub struct Layout {
    place: Place,
    name: Option<String>,
    /// No other image will do, not even the only one.
    strict: bool,
}

#[derive(Debug)]
enum Place {
    Directory(PathBuf),
    Archive(Members),
}

impl Layout {
    /// The layout in a directory. Where it has several images, the one called `name` is taken.
    #[must_use]
    pub fn directory(path: &Path, name: Option<&str>) -> Self {
        Self { place: Place::Directory(path.to_owned()), name: name.map(str::to_owned), strict: false }
    }

    /// The layout in an archive.
    #[must_use]
    pub fn archive(members: Members, name: Option<&str>) -> Self {
        Self { place: Place::Archive(members), name: name.map(str::to_owned), strict: false }
    }

    /// Whether an image of another name is refused even where it is the only one.
    #[must_use]
    pub fn strict(self, strict: bool) -> Self {
        Self { strict, ..self }
    }

    fn open(&self, name: &str, offset: u64) -> Result<Box<dyn Read + Send + '_>> {
        match &self.place {
            Place::Directory(path) => {
                let path = path.join(name);
                let mut file = open_file(&path)?;
                file.seek(SeekFrom::Start(offset)).with_context(|| path.display().to_string())?;
                Ok(Box::new(file))
            }
            Place::Archive(members) => Ok(Box::new(members.open(name.as_bytes(), offset)?)),
        }
    }

    fn blob_name(digest: Digest) -> String {
        format!("blobs/sha256/{}", digest.hex())
    }

    /// The descriptor that `self.name` asks for; none if that is the whole index.
    fn choose(&self, descriptors: &[Descriptor]) -> Result<Option<Descriptor>> {
        if let [only] = descriptors
            && !self.strict
        {
            return Ok(Some(only.clone()));
        }
        let names = |descriptor: &Descriptor| -> Vec<String> {
            let annotations = descriptor.annotations.iter().flatten();
            annotations
                .filter(|(key, _)| [NAME, WHOLE_NAME].contains(&&***key))
                .map(|(_, name)| name.clone())
                .collect()
        };
        let tag = self.name.as_deref().and_then(|name| name.rsplit_once(':')).map(|(_, tag)| tag);
        let wanted = |found: &String| Some(&**found) == self.name.as_deref() || Some(&**found) == tag;
        // A whole name may be written short, and what has no name has a digest.
        let chosen = |descriptor: &Descriptor| {
            let name = self.name.as_deref().filter(|_| self.strict).unwrap_or_default();
            names(descriptor).iter().any(|found| reference::same(found, name))
                || descriptor.digest.to_string() == name
        };
        let is_wanted = |descriptor: &&Descriptor| names(descriptor).iter().any(wanted) || chosen(descriptor);
        let mut matching = descriptors.iter().filter(is_wanted);
        match (matching.next(), matching.next()) {
            (Some(one), None) => return Ok(Some(one.clone())),
            // One name for several: they are for several platforms.
            (Some(_), Some(_)) => return Ok(None),
            (None, _) => {}
        }
        let all: Vec<_> = descriptors.iter().flat_map(names).collect();
        let shown: Vec<_> = all.iter().take(20).map(|name| format!("{name:.100}")).collect();
        if let Some(name) = self.name.as_deref().filter(|_| self.strict) {
            bail!("it has no image {name:.100}, but {}", listed(&shown));
        }
        if descriptors.iter().all(|descriptor| descriptor.platform.is_some()) || all.is_empty() {
            return Ok(None);
        }
        bail!("it has several images, say by a name which one is meant: {}", shown.join(", "))
    }
}

/// Names, or that there are none.
pub(super) fn listed(names: &[String]) -> String {
    if names.is_empty() { "ones without names".to_owned() } else { names.join(", ") }
}

/// Opens what must be a regular file: opening a pipe would wait for its writer.
pub(super) fn open_file(path: &Path) -> Result<File> {
    let shown = || path.display().to_string();
    let kind = path.metadata().with_context(shown)?.file_type();
    ensure!(kind.is_file() || kind.is_block_device(), "{} is no regular file", path.display());
    File::open(path).with_context(shown)
}

/// Reads all of a small file.
pub(super) fn read_small(reader: &mut dyn Read, what: &str) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.take(MOST_DOCUMENT + 1).read_to_end(&mut bytes).with_context(|| what.to_owned())?;
    ensure!(bytes.len() as u64 <= MOST_DOCUMENT, "{what} is larger than {MOST_DOCUMENT} bytes");
    Ok(bytes)
}

impl Source for Layout {
    fn top(&mut self) -> Result<Document> {
        let bytes = read_small(&mut *self.open("index.json", 0)?, "index.json")?;
        let Parsed::Index(index) = manifest::parse(OCI_INDEX, &bytes).context("index.json")? else {
            bail!("index.json is no index");
        };
        match self.choose(&index.manifests)? {
            Some(descriptor) => self.manifest(&descriptor),
            None => Ok(Document { media_type: OCI_INDEX.to_owned(), digest: Digest::of(&bytes), bytes }),
        }
    }

    fn manifest(&mut self, descriptor: &Descriptor) -> Result<Document> {
        let bytes = read_document(&mut *self.blob(descriptor, 0)?, descriptor)?;
        Ok(Document { media_type: descriptor.media_type.clone(), digest: descriptor.digest, bytes })
    }

    fn blob(&mut self, descriptor: &Descriptor, offset: u64) -> Result<Box<dyn Read + Send + '_>> {
        self.open(&Self::blob_name(descriptor.digest), offset)
    }
}
