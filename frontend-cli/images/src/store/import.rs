//! Importing: from what a path is to a root in the cache.

use std::{fs::File, path::Path};

use anyhow::{Context, Result, bail};

use super::{
    PATH, Store, complete,
    record::{Cached, Stamp},
};
use crate::{
    Architecture, Config, Image, PathKind, Progress, Source,
    source::{Directory, DockerArchive, Layout, Members, PlainTar, open_unpacked},
};

/// Which of several images is taken.
#[derive(Debug, Clone, Copy)]
struct Choice<'a> {
    name: Option<&'a str>,
    /// The only one is taken only if it has this name.
    strict: bool,
}

impl Store {
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
        self.import_chosen(path, name, None, architecture, progress)
    }

    /// The same for the image that is called `select` in what `path` is, or has this digest there, and no other; here it
    /// is called `name`.
    ///
    /// # Errors
    /// As for [`Store::import`]; there is no such image.
    pub fn import_selected(
        &self,
        path: &Path,
        name: &str,
        select: &str,
        architecture: Architecture,
        progress: &mut dyn Progress,
    ) -> Result<Image> {
        self.import_chosen(path, Some(name), Some(select), architecture, progress)
    }

    fn import_chosen(
        &self,
        path: &Path,
        name: Option<&str>,
        select: Option<&str>,
        architecture: Architecture,
        progress: &mut dyn Progress,
    ) -> Result<Image> {
        let shown = || path.display().to_string();
        let path = &path.canonicalize().with_context(shown)?;
        let own = name.map_or_else(|| Ok(format!("{PATH}{}", path.display())), complete)?;
        let choice = Choice { name: select.or(name), strict: select.is_some() };
        let imported = self.import_as(path, &own, choice, architecture, progress);
        imported.with_context(shown)
    }

    fn import_as(
        &self,
        path: &Path,
        own: &str,
        choice: Choice<'_>,
        architecture: Architecture,
        progress: &mut dyn Progress,
    ) -> Result<Image> {
        let Choice { name, strict } = choice;
        let stamp = Stamp::of(path, name.filter(|_| strict))?;
        if let Some(stamp) = &stamp
            && let Some(cached) =
                self.record(own)?.and_then(|record| record.images.get(&architecture).cloned())
            && cached.stamp.as_ref() == Some(stamp)
            && let Some(image) = self.image(own, architecture, &cached)?
        {
            return Ok(image);
        }
        let kind = PathKind::of(path)?;
        let members =
            || Members::list(open_unpacked(path, &self.folder.join("tmp"), self.limits.image_bytes)?);
        let mut source: Box<dyn Source> = match kind {
            PathKind::Directory | PathKind::Tar if strict => {
                bail!("it is one root: there are no images in it to select from")
            }
            PathKind::Directory => return self.import_directory(path, own, architecture, progress),
            PathKind::Other => bail!("it is neither a root nor an archive of images"),
            PathKind::Tar => Box::new(PlainTar::new(File::open(path)?, architecture, progress)?),
            PathKind::OciLayout => Box::new(Layout::directory(path, name).strict(strict)),
            PathKind::OciArchive => Box::new(Layout::archive(members()?, name).strict(strict)),
            PathKind::DockerArchive => Box::new(DockerArchive::new(members()?, name).strict(strict)),
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
}
