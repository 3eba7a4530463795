//! What was given to import: packages, images, configurations and folders, told apart by their first bytes.

mod directory;

use std::{
    fs,
    io::{BufReader, Read},
    path::Path,
};

use anyhow::{Context, Result, bail, ensure};

use crate::{
    archive::{ar, deb, rpm},
    collection::{Collection, LooseImage, open_file},
    image, names, unpack,
};

pub(crate) use directory::add_modules;

/// Bytes by which a configuration is known.
const TEXT_HEAD: usize = 4096;

/// Adds what is at `path` to the collection.
pub(crate) fn add(collection: &mut Collection, path: &Path, modules: Option<&Path>) -> Result<()> {
    if path.is_dir() {
        return directory::add(collection, path, modules);
    }
    let mut file = open_file(path)?;
    let shown = path.display();
    let head = unpack::read_all((&mut file).take(image::HEAD), image::HEAD);
    let head = head.with_context(|| format!("cannot read {shown}"))?;
    if head.starts_with(ar::MAGIC) || head.starts_with(rpm::MAGIC) {
        // From the start again: what was read goes before the rest.
        let mut source = BufReader::with_capacity(1 << 16, head.as_slice().chain(file));
        let visit = &mut |name: &[u8], size: u64, content: &mut dyn Read| collection.add(name, size, content);
        let read = if head.starts_with(ar::MAGIC) {
            deb::visit(&mut source, visit)
        } else {
            rpm::visit(&mut source, visit)
        };
        return read.with_context(|| format!("cannot read package {shown}"));
    }
    if is_configuration(&head) {
        ensure!(collection.config.is_none(), "{shown} is a second configuration: give one");
        collection.config = Some(path.to_owned());
        return Ok(());
    }
    image::identify(&head).with_context(|| format!("{shown}"))?;
    add_image(collection, path)
}

/// Adds an image with the configuration that lies beside it: `config-RELEASE` for `vmlinuz-RELEASE`, else `config`.
fn add_image(collection: &mut Collection, path: &Path) -> Result<()> {
    if let Some(other) = &collection.image {
        bail!("{} is a second kernel beside {}: import one at a time", path.display(), other.path.display());
    }
    let release = release_of_file(path).map(|release| format!("config-{release}"));
    let config = path.with_file_name(release.as_deref().unwrap_or("config"));
    let config = Some(config).filter(|config| config.is_file());
    collection.image = Some(LooseImage { path: path.to_owned(), config });
    Ok(())
}

/// The release in a name such as `vmlinuz-RELEASE`.
pub(crate) fn release_of_file(path: &Path) -> Option<String> {
    let (kind, release) = path.file_name()?.to_str()?.split_once('-')?;
    let known = matches!(kind, "vmlinuz" | "vmlinux" | "Image" | "bzImage");
    (known && names::is_release(release)).then(|| release.to_owned())
}

fn is_configuration(head: &[u8]) -> bool {
    let text = head.get(..TEXT_HEAD.min(head.len())).unwrap_or_default();
    !text.contains(&0) && text.split(|byte| *byte == b'\n').any(|line| line.starts_with(b"CONFIG_"))
}

/// The names in a folder, sorted; those that are no text are left out.
fn entries(directory: &Path) -> Result<Vec<String>> {
    let read = fs::read_dir(directory).with_context(|| format!("cannot read {}", directory.display()))?;
    let mut found = Vec::new();
    for entry in read {
        let entry = entry.with_context(|| format!("cannot read {}", directory.display()))?;
        found.extend(entry.file_name().into_string());
    }
    found.sort();
    Ok(found)
}
