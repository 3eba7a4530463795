//! Writes a kernel into its folder, so that all of it is on the disk before the folder gets its name.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    path::Path,
};

use anyhow::{Context, Result, ensure};

use super::choice::Choice;
use crate::{
    collection::Collection,
    kernel::{CONFIG, IMAGE, MANIFEST, MODULES, Manifest},
    resolver::module_bytes,
};

/// Bytes that are kept of a kernel: its image, configuration and modules.
const MOST_KEPT: u64 = 256 << 20;

/// Writes image, configuration and modules, and says how many bytes they have.
pub(super) fn kernel(
    collection: &Collection,
    choice: &Choice,
    config: Option<&[u8]>,
    modules: &[String],
    folder: &Path,
) -> Result<u64> {
    let mut left = MOST_KEPT;
    let mut keep = |path: &Path, source: &mut dyn Read| -> Result<()> {
        let mut file = File::create_new(path).with_context(|| format!("cannot write {}", path.display()))?;
        let written = io::copy(&mut source.take(left.saturating_add(1)), &mut file);
        let written = written.with_context(|| format!("cannot write {}", path.display()))?;
        let rest = left.checked_sub(written);
        left = rest.with_context(|| format!("kernel {} has more than {MOST_KEPT} bytes", choice.release))?;
        file.sync_all().with_context(|| format!("cannot write {}", path.display()))
    };
    let size = collection.size(&choice.image)?;
    ensure!(size <= MOST_KEPT, "the image of kernel {} has {size} bytes", choice.release);
    keep(&folder.join(IMAGE), &mut collection.open(&choice.image)?)?;
    if let Some(mut config) = config {
        keep(&folder.join(CONFIG), &mut config)?;
    }
    let below = folder.join(MODULES);
    fs::create_dir(&below).with_context(|| format!("cannot make {}", below.display()))?;
    for name in modules {
        let file = choice.pieces.modules.get(name).with_context(|| format!("no module {name}"))?;
        keep(&below.join(format!("{name}.ko")), &mut module_bytes(collection, file)?.as_slice())?;
    }
    sync(&below)?;
    Ok(MOST_KEPT - left)
}

/// Writes the manifest, the last file of a kernel's folder.
pub(super) fn manifest(manifest: &Manifest, folder: &Path) -> Result<()> {
    let path = folder.join(MANIFEST);
    let mut text = serde_json::to_vec_pretty(manifest).context("the kernel's manifest")?;
    text.push(b'\n');
    ensure!(!path.exists(), "{} is there already", path.display());
    let write = || -> io::Result<()> {
        let mut file = File::create_new(&path)?;
        file.write_all(&text)?;
        file.sync_all()
    };
    write().with_context(|| format!("cannot write {}", path.display()))?;
    sync(folder)
}

/// Makes the names in a folder durable.
pub(crate) fn sync(folder: &Path) -> Result<()> {
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.with_context(|| format!("cannot write {}", folder.display()))
}
