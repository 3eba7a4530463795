//! Finds the image of one architecture in what a source has.

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail, ensure};

use crate::{
    Architecture, Descriptor, Document, Platform, Source,
    config::{self},
    manifest::{self, DOCKER_CONFIG, Manifest, OCI_CONFIG, Parsed, ROOT_CONFIG},
    source::{check, check_digest, read_document},
};

/// Indexes inside one another.
const MOST_DEPTH: usize = 4;
/// Manifests that are looked at where an index does not say what they run on.
const MOST_LOOKS: usize = 32;

/// The image that was found.
#[derive(Debug, Clone)]
pub(crate) struct Selected {
    /// Its manifest, as it is.
    pub(crate) document: Document,
    /// What that says.
    pub(crate) manifest: Manifest,
    /// Its configuration, as it is.
    pub(crate) config_bytes: Vec<u8>,
    /// What that says.
    pub(crate) config: config::Parsed,
}

/// Reads the source's top document, and checks it against its digest.
pub(crate) fn top(source: &mut dyn Source) -> Result<Document> {
    let top = source.top()?;
    check_digest(crate::Digest::of(&top.bytes), top.digest)?;
    Ok(top)
}

/// Finds the image for `architecture` from `top` on.
///
/// # Errors
/// There is none: what there is instead; or the source fails, or gives what it should not.
pub(crate) fn select(source: &mut dyn Source, top: Document, architecture: Architecture) -> Result<Selected> {
    let mut search = Search { source, architecture, found: BTreeSet::new(), looks: 0 };
    match search.document(top, 0)? {
        Some(selected) => Ok(selected),
        None if search.found.is_empty() => bail!("there is no image in it"),
        None => {
            let found: Vec<_> = search.found.into_iter().take(20).collect();
            bail!("no image for linux/{}: there is {}", architecture.image_name(), found.join(", "))
        }
    }
}

struct Search<'a> {
    source: &'a mut dyn Source,
    architecture: Architecture,
    /// Platforms of images that are for something else.
    found: BTreeSet<String>,
    looks: usize,
}

impl Search<'_> {
    fn document(&mut self, document: Document, depth: usize) -> Result<Option<Selected>> {
        let index = match manifest::parse(&document.media_type, &document.bytes)? {
            Parsed::Manifest(manifest) => return self.image(document, manifest),
            Parsed::Index(index) => index,
        };
        ensure!(depth < MOST_DEPTH, "more than {MOST_DEPTH} indexes inside one another");
        let is_known = |platform: &Platform| !matches!(&*platform.os, "" | "unknown");
        let mut unsaid = Vec::new();
        for descriptor in &index.manifests {
            match descriptor.platform.as_ref() {
                Some(platform) if platform.runs_on(self.architecture) => {
                    return self.follow(descriptor, depth);
                }
                Some(platform) if is_known(platform) => {
                    self.found.insert(format!("{:.60}", platform.to_string()));
                }
                // Statements about images are listed as images for `unknown/unknown`.
                Some(_) => {}
                None => unsaid.push(descriptor),
            }
        }
        for descriptor in unsaid {
            if let Some(selected) = self.follow(descriptor, depth)? {
                return Ok(Some(selected));
            }
        }
        Ok(None)
    }

    fn follow(&mut self, descriptor: &Descriptor, depth: usize) -> Result<Option<Selected>> {
        self.looks += 1;
        ensure!(self.looks <= MOST_LOOKS, "more than {MOST_LOOKS} images of which nothing says what they run on");
        ensure!(descriptor.size <= manifest::MOST_DOCUMENT, "manifest {}: {} bytes", descriptor.digest, descriptor.size);
        let document = self.source.manifest(descriptor).with_context(|| format!("manifest {}", descriptor.digest))?;
        check(&document.bytes, descriptor)?;
        self.document(Document { digest: descriptor.digest, ..document }, depth + 1)
    }

    /// Looks at one image; nothing if it is for another platform.
    fn image(&mut self, document: Document, manifest: Manifest) -> Result<Option<Selected>> {
        let Manifest { config: descriptor, .. } = &manifest;
        let kind = &*descriptor.media_type;
        ensure!(
            matches!(kind, OCI_CONFIG | DOCKER_CONFIG | ROOT_CONFIG | ""),
            "it is no image of a root, but {kind:.100?}"
        );
        let mut reader = self.source.blob(descriptor, 0).context("the image's configuration")?;
        let config_bytes = read_document(&mut *reader, descriptor).context("the image's configuration")?;
        drop(reader);
        let config = config::parse(&config_bytes)?;
        let platform = &config.platform;
        // Old tools say nothing.
        let unsaid = platform.os.is_empty() && platform.architecture.is_empty();
        if !unsaid && !platform.runs_on(self.architecture) {
            self.found.insert(format!("{:.60}", platform.to_string()));
            return Ok(None);
        }
        if kind != ROOT_CONFIG {
            let (ids, layers) = (config.diff_ids.len(), manifest.layers.len());
            ensure!(ids == layers, "an image of {layers} layers whose configuration has {ids}");
        }
        Ok(Some(Selected { document, manifest, config_bytes, config }))
    }
}
