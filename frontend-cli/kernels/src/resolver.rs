//! What a module needs, by what modules say of themselves: the modules that load before it, in their order.
//!
//! The lists that `depmod` makes when a package is installed are not in the package. Modules say on what they depend, and
//! a list of aliases, where there is one, saves looking into each module for a soft dependency on one.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::BufReader,
};

use anyhow::{Context, Result, bail, ensure};

use crate::{
    Architecture,
    collection::{Collection, ModuleFile, Pieces},
    listing,
    module_info::{self, ModuleInfo},
    unpack,
};

/// Bytes of a module, unpacked.
pub(crate) const MOST_MODULE: u64 = 64 << 20;
/// Bytes of a list.
pub(crate) const MOST_LIST: u64 = 32 << 20;
/// Bytes of all modules that are looked into, unpacked.
const MOST_READ: u64 = 4 << 30;
/// Modules that wait for one another.
const MOST_DEPTH: usize = 64;

/// A module's bytes as the kernel takes them.
pub(crate) fn module_bytes(collection: &Collection, file: &ModuleFile) -> Result<Vec<u8>> {
    let read = || -> Result<Vec<u8>> {
        let packed = BufReader::with_capacity(1 << 16, collection.open(&file.content)?);
        Ok(unpack::read_all(unpack::unpacked(packed)?, MOST_MODULE)?)
    };
    read().with_context(|| format!("cannot unpack module {}", file.path))
}

/// Finds what modules of one release need.
pub(crate) struct Resolver<'a> {
    collection: &'a Collection,
    pieces: &'a Pieces,
    release: &'a str,
    architecture: Architecture,
    built_in: BTreeSet<String>,
    infos: BTreeMap<String, ModuleInfo>,
    /// Read when the first soft dependency is no module's name.
    aliases: Option<BTreeMap<String, Vec<String>>>,
    /// Modules that cannot load, and why.
    lacking: BTreeMap<String, String>,
    /// Bytes that may still be unpacked to look into modules.
    left: u64,
}

/// The modules that were found to be needed, in load order.
#[derive(Default)]
struct Order {
    names: Vec<String>,
    present: BTreeSet<String>,
    /// The modules whose needs are being found.
    waiting: Vec<String>,
}

impl<'a> Resolver<'a> {
    pub(crate) fn new(
        collection: &'a Collection,
        pieces: &'a Pieces,
        release: &'a str,
        architecture: Architecture,
    ) -> Result<Self> {
        let built_in = match &pieces.built_in {
            Some(content) => collection.bytes(content, MOST_LIST).context("modules.builtin")?,
            None => Vec::new(),
        };
        Ok(Self {
            collection,
            pieces,
            release,
            architecture,
            built_in: listing::built_in(&built_in),
            infos: BTreeMap::new(),
            aliases: None,
            lacking: BTreeMap::new(),
            left: MOST_READ,
        })
    }

    pub(crate) fn is_built_in(&self, module: &str) -> bool {
        self.built_in.contains(module)
    }

    pub(crate) fn is_module(&self, module: &str) -> bool {
        self.pieces.modules.contains_key(module)
    }

    /// `module` and all it needs, in load order; or why it cannot load.
    ///
    /// # Errors
    /// A module is damaged, of another kernel, or waits for itself.
    pub(crate) fn needs(&mut self, module: &str) -> Result<Result<Vec<String>, String>> {
        let mut order = Order::default();
        Ok(self.visit(module, &mut order)?.map(|()| order.names))
    }

    fn visit(&mut self, name: &str, order: &mut Order) -> Result<Result<(), String>> {
        if order.present.contains(name) {
            return Ok(Ok(()));
        }
        if let Some(why) = self.lacking.get(name) {
            return Ok(Err(why.clone()));
        }
        if order.waiting.iter().any(|waiting| waiting == name) {
            bail!("modules depend on each other in a circle: {}, {name}", order.waiting.join(", "));
        }
        ensure!(order.waiting.len() < MOST_DEPTH, "more than {MOST_DEPTH} modules wait for one another");
        if !self.is_module(name) {
            return Ok(if self.is_built_in(name) {
                Ok(())
            } else {
                Err(format!("{name}.ko is not in them"))
            });
        }
        let info = self.info(name)?.clone();
        order.waiting.push(name.to_owned());
        self.visit_soft(&info.soft_before, order)?;
        for needed in &info.depends {
            if let Err(why) = self.visit(needed, order)? {
                let why = format!("{name}.ko depends on {needed}, and {why}");
                self.lacking.insert(name.to_owned(), why.clone());
                order.waiting.pop();
                return Ok(Err(why));
            }
        }
        order.waiting.pop();
        // A soft dependency may have brought it.
        if order.present.insert(name.to_owned()) {
            order.names.push(name.to_owned());
        }
        self.visit_soft(&info.soft_after, order)?;
        Ok(Ok(()))
    }

    /// Soft dependencies: those that are not there, or wait for this one, are left out.
    fn visit_soft(&mut self, wanted: &[String], order: &mut Order) -> Result<()> {
        for wanted in wanted {
            for name in self.known_as(wanted)? {
                if order.waiting.contains(&name) {
                    continue;
                }
                let before = order.names.len();
                if self.visit(&name, order)?.is_err() {
                    for dropped in order.names.drain(before..) {
                        order.present.remove(&dropped);
                    }
                }
            }
        }
        Ok(())
    }

    /// The modules that have this name or alias.
    fn known_as(&mut self, wanted: &str) -> Result<Vec<String>> {
        if self.is_module(wanted) {
            return Ok(vec![wanted.to_owned()]);
        }
        if self.aliases.is_none() {
            self.aliases = Some(self.read_aliases()?);
        }
        let aliases = self.aliases.as_ref().and_then(|aliases| aliases.get(wanted));
        let mut found = aliases.cloned().unwrap_or_default();
        found.sort();
        found.dedup();
        found.retain(|name| self.pieces.modules.contains_key(name));
        Ok(found)
    }

    fn info(&mut self, name: &str) -> Result<&ModuleInfo> {
        if !self.infos.contains_key(name) {
            let file = self.pieces.modules.get(name).with_context(|| format!("no module {name}"))?;
            let bytes = self.read(file)?;
            let info = module_info::parse(&bytes).with_context(|| format!("module {}", file.path))?;
            ensure!(
                info.machine == self.architecture.elf_machine(),
                "module {} is for another processor than the kernel, which is {}: give modules and kernel of one \
                 architecture",
                file.path,
                self.architecture
            );
            if let Some(release) = info.release.as_deref().filter(|release| *release != self.release) {
                bail!(
                    "module {} is of kernel {}, not of {}: give the modules of the same release",
                    file.path,
                    release.escape_debug(),
                    self.release
                );
            }
            self.infos.insert(name.to_owned(), info);
        }
        self.infos.get(name).with_context(|| format!("no module {name}"))
    }

    /// Which modules have an alias: by the list, or else by looking into each.
    fn read_aliases(&mut self) -> Result<BTreeMap<String, Vec<String>>> {
        let (collection, pieces) = (self.collection, self.pieces);
        if let Some(content) = &pieces.aliases {
            return Ok(listing::aliases(&collection.bytes(content, MOST_LIST).context("modules.alias")?));
        }
        let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (name, file) in &pieces.modules {
            // One that is damaged and needed is refused where it is needed.
            let info = self.read(file).and_then(|bytes| module_info::parse(&bytes));
            for alias in info.map(|info| info.aliases).unwrap_or_default() {
                found.entry(alias).or_default().push(name.clone());
            }
            ensure!(self.left > 0, "the modules have more than {MOST_READ} bytes");
        }
        Ok(found)
    }

    fn read(&mut self, file: &ModuleFile) -> Result<Vec<u8>> {
        ensure!(self.left > 0, "the modules have more than {MOST_READ} bytes");
        let bytes = module_bytes(self.collection, file);
        // One that cannot be read took no more time than the largest.
        let cost = bytes.as_ref().map_or(MOST_MODULE, |bytes| bytes.len() as u64);
        self.left = self.left.saturating_sub(cost);
        bytes
    }
}

#[cfg(test)]
mod tests;
