//! Which kernel is meant: its release, architecture, image and configuration.

use std::io::Read;

use anyhow::{Context, Result, bail, ensure};

use crate::{
    Architecture,
    collection::{Collection, Content, LooseImage, Pieces, open_file},
    image::{self, Image},
    source::release_of_file,
    unpack::read_all,
};

/// The kernel that is imported.
pub(super) struct Choice {
    pub(super) release: String,
    pub(super) architecture: Architecture,
    pub(super) image: Content,
    pub(super) config: Option<Content>,
    /// Its modules and their lists.
    pub(super) pieces: Pieces,
}

/// The release of the image that was given as a file, or the only one that packages have.
pub(super) fn known_release(collection: &Collection) -> Result<Option<String>> {
    match &collection.image {
        Some(loose) => loose_release(loose),
        None => Ok(collection.releases.keys().next().filter(|_| collection.releases.len() == 1).cloned()),
    }
}

/// Takes the kernel out of what was collected.
pub(super) fn choose(collection: &mut Collection) -> Result<Choice> {
    let release = match &collection.image {
        Some(loose) => with_modules(collection, loose_release(loose)?)?,
        None => packaged(collection)?,
    };
    let mut pieces = collection.releases.remove(&release).unwrap_or_default();
    let loose = collection.image.take();
    let image = match &loose {
        Some(loose) => Content::Host(loose.path.clone()),
        None => pieces.image.take().with_context(|| format!("kernel {release} has no image"))?,
    };
    let given = collection.config.take().or(loose.and_then(|loose| loose.config)).map(Content::Host);
    let config = given.or(pieces.config.take());
    let head = read_all(collection.open(&image)?.take(image::HEAD), image::HEAD)?;
    let Image { architecture, release: said } =
        image::identify(&head).with_context(|| format!("the image of kernel {release}"))?;
    if let Some(said) = said.filter(|said| *said != release) {
        bail!(
            "the image is of kernel {said}, not of {release}: give an image and modules of the same release"
        );
    }
    Ok(Choice { release, architecture, image, config, pieces })
}

/// By its header, or else by its name.
fn loose_release(loose: &LooseImage) -> Result<Option<String>> {
    let head = read_all(open_file(&loose.path)?.take(image::HEAD), image::HEAD)?;
    let image = image::identify(&head).with_context(|| loose.path.display().to_string())?;
    Ok(image.release.or_else(|| release_of_file(&loose.path)))
}

/// The release of an image that was given as a file, which its modules must have, too.
fn with_modules(collection: &Collection, said: Option<String>) -> Result<String> {
    let known: Vec<_> = collection.releases.keys().map(String::as_str).collect();
    match (said, known.as_slice()) {
        (Some(said), []) => Ok(said),
        (Some(said), known) => {
            ensure!(
                known.contains(&said.as_str()),
                "the image is of kernel {said}, but the modules are of {}: give those of the same release",
                known.join(", ")
            );
            Ok(said)
        }
        (None, [only]) => Ok((*only).to_owned()),
        (None, []) => {
            bail!(
                "the image does not say its release: name it vmlinuz-RELEASE, or give its modules by --modules"
            )
        }
        (None, several) => bail!("there are modules of {}: give those of one kernel", several.join(", ")),
    }
}

/// The one release of packages that has an image.
fn packaged(collection: &Collection) -> Result<String> {
    let images = collection.releases.iter().filter(|(_, pieces)| pieces.image.is_some());
    let images: Vec<_> = images.map(|(release, _)| release.as_str()).collect();
    match images.as_slice() {
        [only] => Ok((*only).to_owned()),
        [] => {
            let known: Vec<_> = collection.releases.keys().map(String::as_str).collect();
            ensure!(
                !known.is_empty(),
                "the files given hold no kernel: give the packages of a kernel and its modules"
            );
            bail!(
                "the files given hold parts of kernel {}, but not its image: give its package, too (linux-image-*, \
                 linux-binary-*, kernel-core)",
                known.join(", ")
            )
        }
        several => bail!("the files given hold kernels {}: import one at a time", several.join(", ")),
    }
}
