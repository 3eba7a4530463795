//! Pulling: from a source to a root in the cache.

use std::{
    fs::{self, File},
    io::{BufReader, Read},
};

use anyhow::{Context, Result, bail};

use super::{
    Store, complete, files,
    record::{Cached, Stamp},
};
use crate::{
    Architecture, Digest, Image, Progress, Reference, Source, blob,
    erofs::Writer,
    layer::Root,
    select::{self, Selected},
    source::check_digest,
    tar::Archive,
};

impl Store {
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

    pub(super) fn pull_as(
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
        let root =
            self.root(digest, progress, |root, progress| self.unpack(source, &selected, root, progress))?;
        let cached = Cached {
            top: top.digest,
            manifest: digest,
            config: Some(Digest::of(&selected.config_bytes)),
            created: selected.config.config.created.clone(),
            stamp,
            ..Cached::of(digest, &root)?
        };
        self.publish(
            name,
            architecture,
            cached,
            &[&top.bytes, &selected.document.bytes, &selected.config_bytes],
        )?;
        drop(root);
        self.remove_parts(&selected.manifest.layers);
        Ok(self.make_image(name, architecture, digest, selected.config.config))
    }

    /// The root with this digest, made by `build` if it is not there; locked against the garbage collection.
    pub(super) fn root(
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
        // Not the lock of the file itself: that becomes the root, and who waited would wait for those who run it.
        let turn = unfinished.with_extension("lock");
        let _turn = files::Turn::wait(&turn, || {
            progress.begin("waiting for another process that unpacks it", None);
        })?;
        // Who had the lock may have finished it.
        if let Some(root) = files::open_shared(&path)? {
            return Ok(root);
        }
        // Keeps it from the garbage collection.
        let file = files::lock_exclusive(&unfinished, || {})?;
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
            let rest =
                source.blob(descriptor, offset).with_context(|| format!("layer {}", descriptor.digest))?;
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
