//! Folders with kernels, such as `/boot`, and folders with modules, such as `/lib/modules/RELEASE`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};

use super::{add_image, entries, release_of_file};
use crate::{
    collection::{Collection, open_file},
    image, names, newest, unpack,
};

/// Files and folders that are looked at below a folder of modules.
const MOST_ENTRIES: usize = 200_000;
const MOST_DEPTH: usize = 16;
/// Where folders of modules are, below a root or beside a `/boot`.
const PLACES: &[&str] = &["lib/modules", "usr/lib/modules", "modules/lib/modules"];
/// What stands in the folder of the modules of one release.
const MARKS: &[&str] = &["kernel", "modules.builtin", "modules.order", "modules.dep"];

/// Adds the kernel in a folder, with its configuration and modules.
pub(super) fn add(collection: &mut Collection, directory: &Path, modules: Option<&Path>) -> Result<()> {
    let mut kernels: Vec<(String, PathBuf)> = Vec::new();
    for name in entries(directory)? {
        let path = directory.join(&name);
        let usable = !name.ends_with(".old") && !name.ends_with(".sig") && path.is_file();
        kernels.extend(release_of_file(&path).filter(|_| usable).map(|release| (release, path)));
    }
    kernels.sort_by(|one, two| newest::compare(&one.0, &two.0));
    if let Some((release, path)) = running(directory, &kernels).or(kernels.last()) {
        add_image(collection, path)?;
        let parent = fs::canonicalize(directory).ok().and_then(|path| path.parent().map(Path::to_owned));
        let near = [Some(directory.to_owned()), parent];
        return match modules {
            Some(_) => Ok(()),
            None => add_nearest(collection, near.into_iter().flatten(), Some(release)),
        };
    }
    if let Some(path) =
        ["vmlinuz", "Image", "bzImage"].map(|name| directory.join(name)).iter().find(|path| path.is_file())
    {
        add_image(collection, path)?;
        let head = unpack::read_all(std::io::Read::take(open_file(path)?, image::HEAD), image::HEAD)?;
        let release = image::identify(&head).with_context(|| path.display().to_string())?.release;
        return match modules {
            Some(_) => Ok(()),
            None => add_nearest(collection, [directory.to_owned()], release.as_deref()),
        };
    }
    let boot = directory.join("boot");
    if boot.is_dir() && directory.file_name() != Some("boot".as_ref()) {
        return add(collection, &boot, modules);
    }
    bail!("{} has no kernel (vmlinuz-RELEASE or vmlinuz): give the file itself", directory.display())
}

/// In this host's `/boot`: the kernel that runs.
fn running<'a>(directory: &Path, kernels: &'a [(String, PathBuf)]) -> Option<&'a (String, PathBuf)> {
    let own = fs::canonicalize(directory).is_ok_and(|path| path == Path::new("/boot"));
    let name = rustix::system::uname();
    let release = name.release().to_str().ok().filter(|_| own)?;
    kernels.iter().find(|kernel| kernel.0 == release)
}

/// Adds the modules below the first of `roots` that has some; a kernel may have none.
fn add_nearest(
    collection: &mut Collection,
    roots: impl IntoIterator<Item = PathBuf>,
    release: Option<&str>,
) -> Result<()> {
    for root in roots {
        if let Some((path, release)) = find(&root, release)? {
            return walk(collection, &path, &release);
        }
    }
    Ok(())
}

/// Adds the modules in a folder, which is `lib/modules/RELEASE` or has it.
pub(crate) fn add_modules(collection: &mut Collection, root: &Path, release: Option<&str>) -> Result<()> {
    ensure!(root.is_dir(), "{} is no folder: give lib/modules/RELEASE", root.display());
    let found = find(root, release)?.with_context(|| {
        let release = release.unwrap_or("RELEASE");
        format!("{} has no modules: give lib/modules/{release} or a folder that has it", root.display())
    })?;
    walk(collection, &found.0, &found.1)
}

/// The folder of the modules of `release`, or of the only release, in or below `root`.
fn find(root: &Path, release: Option<&str>) -> Result<Option<(PathBuf, String)>> {
    if is_modules(root) {
        let real = fs::canonicalize(root).with_context(|| format!("cannot read {}", root.display()))?;
        let name = real.file_name().and_then(|name| name.to_str()).filter(|name| names::is_release(name));
        let name = name.or(release).context("the folder of the modules has no name of a release")?;
        // A folder of another name is taken at the caller's word, and its modules are looked at.
        return Ok(Some((root.to_owned(), name.to_owned())));
    }
    for place in PLACES.iter().map(|place| root.join(place)).chain([root.to_owned()]) {
        if let Some(release) = release {
            let path = place.join(release);
            if is_modules(&path) {
                return Ok(Some((path, release.to_owned())));
            }
            continue;
        }
        if !place.is_dir() {
            continue;
        }
        let mut found = entries(&place)?;
        found.retain(|name| names::is_release(name) && is_modules(&place.join(name)));
        match found.as_slice() {
            [] => {}
            [name] => return Ok(Some((place.join(name), name.clone()))),
            several => {
                bail!(
                    "{} has modules of {}: give the folder of one by --modules",
                    place.display(),
                    several.join(", ")
                )
            }
        }
    }
    Ok(None)
}

fn is_modules(directory: &Path) -> bool {
    MARKS.iter().any(|mark| directory.join(mark).exists())
}

/// Adds the files below the folder of modules of `release`. Links are not followed: they lead to other releases' modules
/// or to the kernel's source.
fn walk(collection: &mut Collection, root: &Path, release: &str) -> Result<()> {
    let mut folders: Vec<Vec<String>> = vec![Vec::new()];
    let mut seen = 0;
    while let Some(below) = folders.pop() {
        let folder = below.iter().fold(root.to_owned(), |path, part| path.join(part));
        for name in entries(&folder)? {
            seen += 1;
            ensure!(seen <= MOST_ENTRIES, "{} has more than {MOST_ENTRIES} files", root.display());
            let path = folder.join(&name);
            let kind =
                fs::symlink_metadata(&path).with_context(|| format!("cannot read {}", path.display()))?;
            let below = [below.as_slice(), &[name]].concat();
            if kind.is_dir() && below.len() < MOST_DEPTH {
                folders.push(below);
            } else if kind.is_file() {
                collection.add_host(release, &below, path)?;
            }
        }
    }
    Ok(())
}
