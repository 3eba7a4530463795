//! The cache of unpacked images, in a folder that any number of processes use at once.
//!
//! ```text
//! blobs/sha256/HEX         manifests, indexes and configurations
//! blobs/sha256/HEX.part    a layer, as far as it came; locked by who fetches it
//! roots/sha256/HEX.erofs   unpacked roots by the digests of their manifests; share-locked by who runs them
//! references/HEX.json      what a name stands for; HEX is the digest of the name
//! tmp/HEX.erofs            a root that is being unpacked; locked by who does
//! tmp/HEX.new              a small file that is being written, under the lock of the store
//! lock                     locked, shortly, by who changes references or collects garbage
//! ```
//!
//! Files appear under their names by renaming, complete and flushed. Locks are `flock`s: the kernel takes them from a
//! process that dies. Who gets a lock on a file then looks whether the name still leads to that file.

use std::{
    fs::{self, File},
    io::{BufReader, Read},
    path::{Path, PathBuf},
    time::SystemTime,
};

use anyhow::{Context, Result, bail};
use serde::Serialize;

use crate::{
    Architecture, Config, Digest, Image, Limits, PathKind, Progress, Reference, Source, blob, config,
    erofs::Writer,
    layer::Root,
    select::{self, Selected},
    source::{Directory, DockerArchive, Layout, Members, PlainTar, check_digest, open_unpacked},
    tar::Archive,
};

pub(crate) mod files;
mod garbage;
mod part;
mod record;
#[cfg(test)]
mod tests;

pub use garbage::Freed;

use record::{Cached, Stamp};

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

    /// Gets the image called `name` from `source` and unpacks it, unless the cache has it as the source has it.
    ///
    /// # Errors
    /// `name` is none; the source fails, lies, or has no image for `architecture`; the image breaks a bound; the cache cannot be
    /// written.
    pub fn pull(
        &self,
        name: &str,
        source: &mut dyn Source,
        architecture: Architecture,
        progress: &mut dyn Progress,
    ) -> Result<Image> {
        let name = complete(name)?;
        self.pull_as(&name, source, architecture, progress, None).with_context(|| name.clone())
    }

    fn pull_as(
        &self,
        name: &str,
        source: &mut dyn Source,
        architecture: Architecture,
        progress: &mut dyn Progress,
        stamp: Option<Stamp>,
    ) -> Result<Image> {
        let top = select::top(source)?;
        if let Some(digest) = name.parse::<Reference>().ok().and_then(|reference| reference.digest) {
            check_digest(top.digest, digest)?;
        }
        let cached = self.record(name)?.and_then(|record| record.images.get(&architecture).cloned());
        if let Some(cached) = cached.filter(|cached| cached.top == top.digest && cached.stamp == stamp)
            && let Some(image) = self.image(name, architecture, &cached)?
        {
            return Ok(image);
        }
        let selected = select::select(source, top.clone(), architecture)?;
        let digest = selected.document.digest;
        let root = self.root(digest, progress, |root, progress| self.unpack(source, &selected, root, progress))?;
        let cached = Cached {
            top: top.digest,
            manifest: digest,
            config: Some(Digest::of(&selected.config_bytes)),
            created: selected.config.config.created.clone(),
            stamp,
            ..Cached::of(digest, &root)?
        };
        self.publish(name, architecture, cached, &[&top.bytes, &selected.document.bytes, &selected.config_bytes])?;
        drop(root);
        self.remove_parts(&selected.manifest.layers);
        Ok(self.make_image(name, architecture, digest, selected.config.config))
    }

    /// Makes an image of what `path` is: a directory or a tar archive with a root, an OCI layout or an archive of one,
    /// or what `docker save` wrote. Nothing is unpacked that has not changed. Without a `name` it is called `path:`
    /// and its path. Where there are several images, `name` says which one is taken.
    ///
    /// # Errors
    /// It is none of these, cannot be read, is damaged or hostile, or not for `architecture`; the cache cannot be written.
    pub fn import(
        &self,
        path: &Path,
        name: Option<&str>,
        architecture: Architecture,
        progress: &mut dyn Progress,
    ) -> Result<Image> {
        let shown = || path.display().to_string();
        let path = &path.canonicalize().with_context(shown)?;
        let own = name.map_or_else(|| Ok(format!("{PATH}{}", path.display())), complete)?;
        let imported = self.import_as(path, &own, name, architecture, progress);
        imported.with_context(shown)
    }

    fn import_as(
        &self,
        path: &Path,
        own: &str,
        name: Option<&str>,
        architecture: Architecture,
        progress: &mut dyn Progress,
    ) -> Result<Image> {
        let stamp = Stamp::of(path)?;
        if let Some(stamp) = &stamp
            && let Some(cached) = self.record(own)?.and_then(|record| record.images.get(&architecture).cloned())
            && cached.stamp.as_ref() == Some(stamp)
            && let Some(image) = self.image(own, architecture, &cached)?
        {
            return Ok(image);
        }
        let kind = PathKind::of(path)?;
        let members = || Members::list(open_unpacked(path, &self.folder.join("tmp"), self.limits.image_bytes)?);
        let mut source: Box<dyn Source> = match kind {
            PathKind::Directory => return self.import_directory(path, own, architecture, progress),
            PathKind::Other => bail!("it is neither a root nor an archive of images"),
            PathKind::Tar => Box::new(PlainTar::new(File::open(path)?, architecture, progress)?),
            PathKind::OciLayout => Box::new(Layout::directory(path, name)),
            PathKind::OciArchive => Box::new(Layout::archive(members()?, name)),
            PathKind::DockerArchive => Box::new(DockerArchive::new(members()?, name)),
        };
        self.pull_as(own, &mut *source, architecture, progress, stamp)
    }

    fn import_directory(
        &self,
        path: &Path,
        own: &str,
        architecture: Architecture,
        progress: &mut dyn Progress,
    ) -> Result<Image> {
        let directory = Directory::new(path, &self.limits);
        let digest = directory.digest()?;
        let root = self.root(digest, progress, |root, progress| {
            progress.begin("reading the directory", None);
            directory.unpack(root, progress)?;
            progress.end();
            if directory.digest()? != digest {
                bail!("something in it changed while it was read: try again when nothing writes to it");
            }
            Ok(())
        })?;
        let cached = Cached { top: digest, manifest: digest, ..Cached::of(digest, &root)? };
        self.publish(own, architecture, cached, &[])?;
        drop(root);
        Ok(self.make_image(own, architecture, digest, Config::default()))
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

    /// The root with this digest, made by `build` if it is not there; locked against the garbage collection.
    fn root(
        &self,
        digest: Digest,
        progress: &mut dyn Progress,
        build: impl FnOnce(&mut Root<'_>, &mut dyn Progress) -> Result<()>,
    ) -> Result<File> {
        let path = self.root_path(digest);
        if let Some(root) = files::open_shared(&path)? {
            return Ok(root);
        }
        let unfinished = self.folder.join("tmp").join(format!("{}.erofs", digest.hex()));
        let file = files::lock_exclusive(&unfinished, || {
            progress.begin("waiting for another process that unpacks it", None);
        })?;
        // Who had the lock may have finished it.
        if let Some(root) = files::open_shared(&path)? {
            files::remove(&unfinished)?;
            return Ok(root);
        }
        let built = Writer::new(file.try_clone()?).and_then(|writer| {
            let mut root = Root::new(writer, &self.limits);
            build(&mut root, progress)?;
            progress.begin("writing the root", None);
            root.finish(digest.uuid())?;
            files::publish(&file, &unfinished, &path)?;
            progress.end();
            Ok(())
        });
        if let Err(error) = built {
            // Ours by the lock. What is wrong is told already.
            let _ = fs::remove_file(&unfinished);
            return Err(error);
        }
        Ok(file)
    }

    /// Unpacks the layers of an image into `root`.
    fn unpack(
        &self,
        source: &mut dyn Source,
        selected: &Selected,
        root: &mut Root<'_>,
        progress: &mut dyn Progress,
    ) -> Result<()> {
        let layers = &selected.manifest.layers;
        let mut left = self.limits.image_bytes;
        for (number, descriptor) in layers.iter().enumerate() {
            check_layer(&descriptor.media_type)?;
            progress.begin(&format!("layer {} of {}", number + 1, layers.len()), Some(descriptor.size));
            let most = left.min(self.limits.layer_bytes);
            let mut part = source.resumable().then(|| self.part(descriptor, progress)).transpose()?;
            let offset = part.as_ref().map_or(0, |part| part.kept());
            let rest = source.blob(descriptor, offset).with_context(|| format!("layer {}", descriptor.digest))?;
            let reader: Box<dyn Read + Send + '_> = match &mut part {
                Some(part) => Box::new(part.reader(rest)?),
                None => rest,
            };
            let apply = |stream: &mut BufReader<blob::Chunks<'_>>| root.apply(&mut Archive::new(stream));
            let unpacked = blob::unpack(reader, descriptor, most, progress, apply);
            if unpacked.is_err()
                && let Some(part) = part
            {
                part.check(descriptor)?;
            }
            let unpacked = unpacked?;
            if let Some(diff_id) = selected.config.diff_ids.get(number) {
                check_digest(unpacked.diff_id, *diff_id)
                    .with_context(|| format!("layer {}, unpacked", descriptor.digest))?;
            }
            left -= unpacked.size;
            progress.end();
        }
        Ok(())
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

/// Refuses layers that are no archives of files.
fn check_layer(media_type: &str) -> Result<()> {
    let known = ["application/vnd.oci.image.layer.", "application/vnd.docker.image.rootfs."];
    if media_type.contains("+encrypted") {
        bail!("a layer of type {media_type:.100?}: encrypted layers are not supported");
    }
    if !media_type.is_empty() && !known.iter().any(|start| media_type.starts_with(start)) {
        bail!("a layer of type {media_type:.100?} is no part of a root");
    }
    Ok(())
}

/// Seconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
