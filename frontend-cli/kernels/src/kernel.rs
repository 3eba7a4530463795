//! `Kernel`: a kernel in the store, and what it can do.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::{Architecture, Feature, names, unpack::read_all};

/// What stands in a kernel's folder.
pub(crate) const IMAGE: &str = "image";
pub(crate) const CONFIG: &str = "config";
pub(crate) const MODULES: &str = "modules";
pub(crate) const MANIFEST: &str = "kernel.json";

/// The version of [`Manifest`].
pub(crate) const FORMAT: u32 = 1;
const MOST_MANIFEST: u64 = 1 << 20;

/// A kernel in the store.
#[derive(Debug, Clone, Serialize)]
pub struct Kernel {
    /// Its name in the store.
    pub name: String,
    /// For which guests it is.
    pub architecture: Architecture,
    /// Its release, as `uname -r` says it in the guest.
    pub release: String,
    /// Bytes of its image, configuration and modules.
    pub size: u64,
    /// Whether guests of its architecture get it if none is named.
    pub default: bool,
    #[serde(skip)]
    folder: PathBuf,
    #[serde(skip)]
    manifest: Manifest,
}

/// A module to load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Module {
    /// Its name, as `lsmod` says it in the guest.
    pub name: String,
    /// Its file, unpacked.
    pub path: PathBuf,
}

/// What is written down of a kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    pub(crate) format: u32,
    pub(crate) architecture: Architecture,
    pub(crate) release: String,
    /// Bytes of all files but this one.
    pub(crate) size: u64,
    /// All that are kept, in load order.
    pub(crate) modules: Vec<String>,
    pub(crate) features: BTreeMap<Feature, Support>,
}

/// Whether a kernel has a feature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Support {
    /// It has, with these modules; what is built in needs none.
    Modules(Vec<String>),
    /// It has not, and why.
    Lacks(String),
}

impl Kernel {
    /// The kernel in `folder`.
    pub(crate) fn open(folder: &Path, name: &str) -> Result<Self> {
        let path = folder.join(MANIFEST);
        let file = File::open(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let text =
            read_all(file, MOST_MANIFEST).with_context(|| format!("cannot read {}", path.display()))?;
        let damaged = || {
            let path = path.display();
            format!(
                "{path} is damaged, or of another version of hv: `hv kernel rm {name}` and import it again"
            )
        };
        let manifest: Manifest = serde_json::from_slice(&text).with_context(damaged)?;
        let modules = manifest.modules.iter().all(|module| names::is_module(module));
        ensure!(manifest.format == FORMAT && modules && names::is_release(&manifest.release), damaged());
        Ok(Self {
            name: name.to_owned(),
            architecture: manifest.architecture,
            release: manifest.release.clone(),
            size: manifest.size,
            default: false,
            folder: folder.to_owned(),
            manifest,
        })
    }

    /// The image, as it was packaged. Its configuration, if it came with one, lies beside it as `config`.
    pub fn image(&self) -> PathBuf {
        self.folder.join(IMAGE)
    }

    /// Why the kernel does not have a feature, such as "CONFIG_VIRTIO_FS is not set"; `None` if it has it.
    pub fn lacks(&self, feature: Feature) -> Option<&str> {
        match self.manifest.features.get(&feature) {
            Some(Support::Modules(_)) => None,
            Some(Support::Lacks(why)) => Some(why),
            None => Some("it was imported by a version of hv that did not look for it"),
        }
    }

    /// The modules that `features` need, each once, in load order. What is built in is not among them.
    ///
    /// A module that a soft dependency brought may find no hardware (`ENODEV`): that is no failure.
    ///
    /// # Errors
    /// The kernel does not have one of them.
    pub fn modules(&self, features: &[Feature]) -> Result<Vec<Module>> {
        let mut wanted = BTreeSet::new();
        for feature in features {
            match self.manifest.features.get(feature) {
                Some(Support::Modules(modules)) => wanted.extend(modules),
                _ => bail!(
                    "kernel {} cannot be used for {}: {}; choose another kernel",
                    self.name,
                    feature.purpose(),
                    self.lacks(*feature).unwrap_or_default()
                ),
            }
        }
        let modules = self.manifest.modules.iter().filter(|module| wanted.contains(module));
        let path = |module: &String| self.folder.join(MODULES).join(format!("{module}.ko"));
        Ok(modules.map(|module| Module { name: module.clone(), path: path(module) }).collect())
    }

    pub(crate) fn manifest(&self) -> &Manifest {
        &self.manifest
    }
}
