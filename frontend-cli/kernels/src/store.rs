//! `Store`: the folder of kernels. It has a folder for each kernel, and files of its own that begin with a dot.
//!
//! A kernel appears and disappears by a rename, so that readers need no lock. Writers take `.lock`, for moments only;
//! what they work on is in `.work-*`, with a lock that ends with its process, so that what a killed one left is known.

mod work;

use std::{
    fs::{self, File},
    io::{self, ErrorKind, Read, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};

use crate::{Architecture, Kernel, import, kernel, names, newest, unpack::read_all};
use work::Work;

const LOCK: &str = ".lock";
const MOST_NAME: u64 = 256;

/// The folder of kernels.
#[derive(Debug, Clone)]
pub struct Store {
    folder: PathBuf,
}

impl Store {
    /// The store in `folder`, which is made if it is not there.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn open(folder: impl Into<PathBuf>) -> Result<Self> {
        let folder = folder.into();
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        Ok(Self { folder })
    }

    /// Imports the kernel in `sources`: packages, an image, a configuration, or a folder such as `/boot`. `modules` is
    /// `lib/modules/RELEASE` or a folder that has it.
    ///
    /// Its name is `name`, or its release, with `-ARCHITECTURE` after one that does not end in it. The first kernel of an
    /// architecture becomes its default. A kernel that is there already, the same in every byte, is given back.
    ///
    /// # Errors
    /// There is no kernel in them, it lacks what a guest needs, or there is another one of that name.
    pub fn import(&self, sources: &[PathBuf], modules: Option<&Path>, name: Option<&str>) -> Result<Kernel> {
        ensure!(
            !sources.is_empty(),
            "nothing to import: give packages, a vmlinuz, or a folder such as /boot"
        );
        name.map_or(Ok(()), check_name)?;
        let work = Work::begin(self)?;
        let collection = import::collect(sources, modules, work.spool()?)?;
        let new = work.folder();
        let manifest = import::write(collection, &new)?;
        let name = name.map_or_else(|| default_name(&manifest.release, manifest.architecture), str::to_owned);

        let lock = self.lock()?;
        let place = self.folder.join(&name);
        let default = self.default(manifest.architecture)?;
        if place.exists() {
            ensure!(
                Kernel::open(&place, &name).is_ok_and(|old| *old.manifest() == manifest)
                    && same(&new, &place)?,
                "there is another kernel {name}: choose a name by --name, or `hv kernel rm {name}` first"
            );
        } else {
            fs::rename(&new, &place).with_context(|| format!("cannot make {}", place.display()))?;
            import::sync(&self.folder)?;
        }
        if self.default_name(manifest.architecture).is_none() {
            // What guests get stays the same, also where it was not written down.
            let default = default.map_or(name.clone(), |kernel| kernel.name);
            self.write_default(manifest.architecture, &default)?;
        }
        drop(lock);
        self.find(&name)
    }

    /// All kernels, by name. One that cannot be read is left out, and the log hears of it.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn list(&self) -> Result<Vec<Kernel>> {
        let mut kernels = self.kernels()?;
        for architecture in [Architecture::X86_64, Architecture::Aarch64] {
            let default = self.choose_default(architecture, &kernels);
            if let Some(kernel) = default.and_then(|index| kernels.get_mut(index)) {
                kernel.default = true;
            }
        }
        Ok(kernels)
    }

    /// The kernel of this name.
    ///
    /// # Errors
    /// There is none, or it cannot be read.
    pub fn find(&self, name: &str) -> Result<Kernel> {
        check_name(name)?;
        let folder = self.folder.join(name);
        ensure!(
            folder.is_dir(),
            "there is no kernel {name}: see `hv kernel ls`, or add one by `hv kernel import`"
        );
        // First, so that what is wrong with it is told once.
        let kernel = Kernel::open(&folder, name)?;
        Ok(self.list()?.into_iter().find(|listed| listed.name == name).unwrap_or(kernel))
    }

    /// Removes a kernel, also one that cannot be read.
    ///
    /// # Errors
    /// There is none of this name, or it cannot be removed.
    pub fn remove(&self, name: &str) -> Result<()> {
        check_name(name)?;
        let work = Work::begin(self)?;
        let lock = self.lock()?;
        match fs::rename(self.folder.join(name), work.removed()) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                bail!("there is no kernel {name}: see `hv kernel ls`")
            }
            renamed => renamed.with_context(|| format!("cannot remove kernel {name}"))?,
        }
        import::sync(&self.folder)?;
        drop(lock);
        work.end()
    }

    /// The kernel of guests of `architecture` for which none is named: the one that was chosen, or if that is not there
    /// the newest. `None` if there is no kernel of that architecture.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn default(&self, architecture: Architecture) -> Result<Option<Kernel>> {
        let kernels = self.list()?.into_iter();
        Ok(kernels.filter(|kernel| kernel.architecture == architecture).find(|kernel| kernel.default))
    }

    /// Makes a kernel the default of its architecture.
    ///
    /// # Errors
    /// There is none of this name, or it cannot be written down.
    pub fn set_default(&self, name: &str) -> Result<()> {
        let lock = self.lock()?;
        let kernel = self.find(name)?;
        self.write_default(kernel.architecture, name)?;
        drop(lock);
        Ok(())
    }

    fn kernels(&self) -> Result<Vec<Kernel>> {
        let context = || format!("cannot read {}", self.folder.display());
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.folder).with_context(context)? {
            let entry = entry.with_context(context)?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            if !names::is_release(&name) || !entry.path().is_dir() {
                continue;
            }
            match Kernel::open(&entry.path(), &name) {
                Ok(kernel) => found.push(kernel),
                // It may have been removed since.
                Err(_) if !entry.path().exists() => {}
                Err(error) => tracing::warn!("kernel {name} is left out: {error:#}"),
            }
        }
        found.sort_by(|one, two| one.name.cmp(&two.name));
        Ok(found)
    }

    fn choose_default(&self, architecture: Architecture, kernels: &[Kernel]) -> Option<usize> {
        let ours = kernels.iter().enumerate().filter(|(_, kernel)| kernel.architecture == architecture);
        let named = self.default_name(architecture);
        let chosen = ours.clone().find(|(_, kernel)| Some(&kernel.name) == named.as_ref());
        let newest = || ours.max_by(|one, two| newest::compare(&one.1.release, &two.1.release));
        chosen.or_else(newest).map(|(index, _)| index)
    }

    /// The name that was chosen as the default, if its kernel is there.
    fn default_name(&self, architecture: Architecture) -> Option<String> {
        let file = File::open(self.default_path(architecture)).ok()?;
        let name = String::from_utf8(read_all(file, MOST_NAME).ok()?).ok()?.trim_end().to_owned();
        (names::is_release(&name) && self.folder.join(&name).is_dir()).then_some(name)
    }

    /// Writes it down for good; the caller holds the lock.
    fn write_default(&self, architecture: Architecture, name: &str) -> Result<()> {
        let path = self.default_path(architecture);
        let write = || -> Result<()> {
            let mut file = tempfile::Builder::new().prefix(".default-").tempfile_in(&self.folder)?;
            writeln!(file, "{name}")?;
            file.as_file().sync_all()?;
            file.persist(&path)?;
            import::sync(&self.folder)
        };
        write().with_context(|| format!("cannot write {}", path.display()))
    }

    fn default_path(&self, architecture: Architecture) -> PathBuf {
        self.folder.join(format!(".default.{architecture}"))
    }

    /// Held while names in the store change.
    fn lock(&self) -> Result<File> {
        let path = self.folder.join(LOCK);
        let open = || File::options().create(true).truncate(false).write(true).open(&path);
        let lock = open().and_then(|file| file.lock().map(|()| file));
        lock.with_context(|| format!("cannot lock {}", path.display()))
    }
}

fn check_name(name: &str) -> Result<()> {
    ensure!(
        names::is_release(name),
        "{name:?} cannot be a kernel's name: use letters, digits and any of ._+~-, and begin with no . or -"
    );
    Ok(())
}

/// A release says its architecture at its end in most distributions: those that do not get it.
fn default_name(release: &str, architecture: Architecture) -> String {
    let said = architecture.words().iter().any(|word| release.ends_with(word));
    if said { release.to_owned() } else { format!("{release}-{architecture}") }
}

/// Whether two kernels of the same manifest have the same files.
fn same(one: &Path, two: &Path) -> Result<bool> {
    let modules = Kernel::open(one, "")?.manifest().modules.clone();
    let modules = modules.iter().map(|module| Path::new(kernel::MODULES).join(format!("{module}.ko")));
    let files = [kernel::IMAGE, kernel::CONFIG].map(PathBuf::from).into_iter().chain(modules);
    for file in files {
        if !same_file(&one.join(&file), &two.join(&file))? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn same_file(one: &Path, two: &Path) -> io::Result<bool> {
    let open = |path: &Path| match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        opened => opened.map(Some),
    };
    let (Some(mut one), Some(mut two)) = (open(one)?, open(two)?) else {
        return Ok(!one.exists() && !two.exists());
    };
    if one.metadata()?.len() != two.metadata()?.len() {
        return Ok(false);
    }
    let (mut left, mut right) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    loop {
        let count = one.read(&mut left)?;
        if count == 0 {
            return Ok(true);
        }
        if two.read_exact(&mut right[..count]).is_err() || left[..count] != right[..count] {
            return Ok(false);
        }
    }
}

#[cfg(test)]
mod tests;
