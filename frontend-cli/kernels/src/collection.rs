//! What was found in packages and folders, by release, before it is chosen from.
//!
//! Files of packages are spooled to one file without a name: which modules are needed is known only when all have
//! been seen, and a package is unpacked once. Files of the host stay where they are.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, BufWriter, Read, Write},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};

use crate::{names, unpack};

/// Modules that are looked at.
const MOST_MODULES: usize = 20_000;
/// Bytes of packages' files that are spooled.
const MOST_SPOOLED: u64 = 2 << 30;
/// Releases in one import.
const MOST_RELEASES: usize = 64;
/// Parts of a module's path below its release.
const MOST_DEPTH: usize = 16;

const SPOOLING: &str = "cannot unpack into the folder of kernels";

/// Where a file's bytes are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Content {
    Spooled { offset: u64, size: u64 },
    Host(PathBuf),
}

/// A module's file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ModuleFile {
    /// Below `lib/modules/RELEASE`, for messages and to choose between two of a name.
    pub(crate) path: String,
    pub(crate) content: Content,
}

/// What there is of a release.
#[derive(Debug, Default)]
pub(crate) struct Pieces {
    pub(crate) image: Option<Content>,
    pub(crate) config: Option<Content>,
    pub(crate) built_in: Option<Content>,
    pub(crate) aliases: Option<Content>,
    pub(crate) modules: BTreeMap<String, ModuleFile>,
}

/// An image that was given as a file, not in a package.
#[derive(Debug)]
pub(crate) struct LooseImage {
    pub(crate) path: PathBuf,
    pub(crate) config: Option<PathBuf>,
}

#[derive(Debug)]
pub(crate) struct Collection {
    spool: BufWriter<File>,
    spooled: u64,
    modules: usize,
    pub(crate) releases: BTreeMap<String, Pieces>,
    pub(crate) image: Option<LooseImage>,
    pub(crate) config: Option<PathBuf>,
}

/// What a file is by its path in a package.
#[derive(Debug, PartialEq, Eq)]
enum Piece {
    Image,
    Config,
    BuiltIn,
    Aliases,
    Module { name: String, path: String },
}

impl Collection {
    /// `spool` is an empty file.
    pub(crate) fn new(spool: File) -> Self {
        Self {
            spool: BufWriter::with_capacity(1 << 20, spool),
            spooled: 0,
            modules: 0,
            releases: BTreeMap::new(),
            image: None,
            config: None,
        }
    }

    /// A file of a package: keeps it if it is part of a kernel.
    pub(crate) fn add(&mut self, path: &[u8], size: u64, content: &mut dyn Read) -> Result<()> {
        let Some((release, piece)) = std::str::from_utf8(path).ok().and_then(classify) else { return Ok(()) };
        let end = self.spooled.checked_add(size).filter(|end| *end <= MOST_SPOOLED);
        let end =
            end.with_context(|| format!("holds more than {MOST_SPOOLED} bytes of kernels and modules"))?;
        let copied = io::copy(&mut content.take(size), &mut self.spool).context(SPOOLING)?;
        ensure!(copied == size, "is truncated");
        let content = Content::Spooled { offset: self.spooled, size };
        self.spooled = end;
        self.keep(&release, piece, content)
    }

    /// A file of the host at `below` in the folder of the modules of `release`.
    pub(crate) fn add_host(&mut self, release: &str, below: &[String], path: PathBuf) -> Result<()> {
        let parts: Vec<_> = below.iter().map(String::as_str).collect();
        match of_release(&parts) {
            // The image and its configuration are what the caller named.
            None | Some(Piece::Image) => Ok(()),
            Some(piece) => self.keep(release, piece, Content::Host(path)),
        }
    }

    fn keep(&mut self, release: &str, piece: Piece, content: Content) -> Result<()> {
        let known = self.releases.contains_key(release);
        ensure!(known || self.releases.len() < MOST_RELEASES, "holds more than {MOST_RELEASES} releases");
        let pieces = self.releases.entry(release.to_owned()).or_default();
        match piece {
            Piece::Image => drop(pieces.image.get_or_insert(content)),
            Piece::Config => drop(pieces.config.get_or_insert(content)),
            Piece::BuiltIn => drop(pieces.built_in.get_or_insert(content)),
            Piece::Aliases => drop(pieces.aliases.get_or_insert(content)),
            Piece::Module { name, path } => {
                self.modules += 1;
                ensure!(self.modules <= MOST_MODULES, "holds more than {MOST_MODULES} modules");
                let rank = |path: &str| (!path.starts_with("updates/"), path.to_owned());
                // As depmod does it: what an administrator or vendor updated goes first.
                let better = pieces.modules.get(&name).is_none_or(|other| rank(&path) < rank(&other.path));
                if better {
                    pieces.modules.insert(name, ModuleFile { path, content });
                }
            }
        }
        Ok(())
    }

    /// After the last [`Self::add`], before the first [`Self::open`].
    pub(crate) fn finish(&mut self) -> Result<()> {
        self.spool.flush().context(SPOOLING)
    }

    /// A file's bytes as they were packaged.
    pub(crate) fn open<'a>(&'a self, content: &Content) -> Result<Box<dyn Read + 'a>> {
        Ok(match content {
            Content::Spooled { offset, size } => {
                Box::new(Window { file: self.spool.get_ref(), offset: *offset, left: *size })
            }
            Content::Host(path) => Box::new(open_file(path)?),
        })
    }

    /// A file's bytes as they were packaged: how many.
    pub(crate) fn size(&self, content: &Content) -> Result<u64> {
        Ok(match content {
            Content::Spooled { size, .. } => *size,
            Content::Host(path) => open_file(path)?.metadata()?.len(),
        })
    }

    /// All bytes of a file as they were packaged.
    ///
    /// # Errors
    /// There are more than `most`, or they cannot be read.
    pub(crate) fn bytes(&self, content: &Content, most: u64) -> Result<Vec<u8>> {
        Ok(unpack::read_all(self.open(content)?, most)?)
    }
}

/// Opens a file of the host that must be a regular one.
pub(crate) fn open_file(path: &Path) -> Result<File> {
    let regular = std::fs::metadata(path).map(|metadata| metadata.is_file());
    let regular = regular.with_context(|| format!("cannot read {}", path.display()))?;
    ensure!(regular, "{} is no regular file", path.display());
    File::open(path).with_context(|| format!("cannot read {}", path.display()))
}

/// A part of the spool.
struct Window<'a> {
    file: &'a File,
    offset: u64,
    left: u64,
}

impl Read for Window<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
        let count = self.file.read_at(&mut bytes[..most], self.offset)?;
        self.offset += count as u64;
        self.left -= count as u64;
        Ok(count)
    }
}

/// Of which release the file at `path` of a package is, and what of it.
fn classify(path: &str) -> Option<(String, Piece)> {
    let mut parts: Vec<_> = path.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    if parts.contains(&"..") {
        return None;
    }
    if parts.first() == Some(&"usr") {
        parts.remove(0);
    }
    let (release, piece) = match parts.as_slice() {
        ["boot", file] => {
            let (kind, release) = file.split_once('-')?;
            let piece = match kind {
                "vmlinuz" | "Image" => Piece::Image,
                "config" => Piece::Config,
                _ => return None,
            };
            (release, piece)
        }
        ["lib", "modules", release, below @ ..] => (*release, of_release(below)?),
        _ => return None,
    };
    names::is_release(release).then(|| (release.to_owned(), piece))
}

/// What the file at `below` in `lib/modules/RELEASE` is.
fn of_release(below: &[&str]) -> Option<Piece> {
    match below {
        ["vmlinuz" | "Image"] => Some(Piece::Image),
        ["config"] => Some(Piece::Config),
        ["modules.builtin"] => Some(Piece::BuiltIn),
        ["modules.alias"] => Some(Piece::Aliases),
        [.., file] if below.len() <= MOST_DEPTH => {
            let name = names::module_of_file(file)?;
            Some(Piece::Module { name, path: below.join("/") })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
