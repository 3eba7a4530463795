//! Import: chooses the kernel in what was collected, checks it, and writes what a guest needs of it into a folder.

mod choice;
mod write;

use std::{
    collections::BTreeMap,
    fs::File,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

use crate::{
    Feature,
    collection::Collection,
    feature::Part,
    kernel::{FORMAT, Manifest, Support},
    listing::Configuration,
    resolver::Resolver,
    source,
};
use choice::Choice;
pub(crate) use write::sync;

/// Bytes of a configuration.
const MOST_CONFIG: u64 = 4 << 20;
/// Options without which no guest of hv starts, and what needs them.
const BUILT_IN: &[(&str, &str)] = &[
    ("CONFIG_BLK_DEV_INITRD", "the start of every guest"),
    ("CONFIG_DEVTMPFS", "the devices of every guest"),
    ("CONFIG_TMPFS", "the start of every guest"),
    ("CONFIG_UNIX", "programs of a guest that talk to one another"),
];

/// Reads what is at `sources`, and at `modules`; `spool` is an empty file.
pub(crate) fn collect(sources: &[PathBuf], modules: Option<&Path>, spool: File) -> Result<Collection> {
    let mut collection = Collection::new(spool);
    for path in sources {
        source::add(&mut collection, path, modules)?;
    }
    if let Some(root) = modules {
        let release = choice::known_release(&collection)?;
        source::add_modules(&mut collection, root, release.as_deref())?;
    }
    collection.finish()?;
    Ok(collection)
}

/// Chooses the kernel in `collection` and writes it into `folder`, which is there and empty.
pub(crate) fn write(mut collection: Collection, folder: &Path) -> Result<Manifest> {
    let choice = choice::choose(&mut collection)?;
    let Choice { release, architecture, .. } = &choice;
    let config = match &choice.config {
        Some(content) => Some(collection.bytes(content, MOST_CONFIG).context("the kernel's configuration")?),
        None => None,
    };
    let configuration = config.as_deref().map(Configuration::parse).filter(|options| !options.is_empty());
    if let Some(configuration) = &configuration {
        check_built_in(release, configuration)?;
    }
    let mut resolver = Resolver::new(&collection, &choice.pieces, release, *architecture)?;
    let mut features = BTreeMap::new();
    let mut order: Vec<String> = Vec::new();
    for feature in Feature::ALL {
        let support = support(&mut resolver, feature.parts(*architecture), configuration.as_ref())?;
        if let Support::Modules(modules) = &support {
            let new: Vec<_> = modules.iter().filter(|module| !order.contains(module)).cloned().collect();
            // All that a module needs is in its own feature, in order, so the joined list is in order, too.
            order.extend(new);
        }
        features.insert(feature, support);
    }
    check_required(release, &features)?;
    let size = write::kernel(&collection, &choice, config.as_deref(), &order, folder)?;
    let manifest = Manifest {
        format: FORMAT,
        architecture: *architecture,
        release: release.clone(),
        size,
        modules: order,
        features,
    };
    write::manifest(&manifest, folder)?;
    Ok(manifest)
}

fn check_built_in(release: &str, configuration: &Configuration) -> Result<()> {
    for (option, purpose) in BUILT_IN {
        if configuration.value(option) != Some("y") {
            bail!("kernel {release} lacks {option}=y: hv needs it for {purpose}; choose another kernel");
        }
    }
    Ok(())
}

/// Whether the kernel has all `parts` of a feature, and the modules that they are.
fn support(
    resolver: &mut Resolver<'_>,
    parts: &[Part],
    configuration: Option<&Configuration>,
) -> Result<Support> {
    let mut modules: Vec<String> = Vec::new();
    for Part { option, module } in parts {
        let value = configuration.and_then(|configuration| configuration.value(option));
        let is_built_in = value == Some("y") || resolver.is_built_in(module);
        if resolver.is_module(module) {
            match resolver.needs(module)? {
                Ok(needs) => {
                    let new: Vec<_> = needs.into_iter().filter(|name| !modules.contains(name)).collect();
                    modules.extend(new);
                }
                Err(why) => {
                    let why = format!("{option}=m, but the files given do not have all of it: {why}");
                    return Ok(Support::Lacks(why));
                }
            }
        } else if !is_built_in {
            return Ok(Support::Lacks(match value {
                Some(_) => format!("{option}=m, but {module}.ko is in none of the files given"),
                None if configuration.is_some() => format!("{option} is not set"),
                None => format!("neither {module}.ko nor a configuration that says {option}=y"),
            }));
        }
    }
    Ok(Support::Modules(modules))
}

fn check_required(release: &str, features: &BTreeMap<Feature, Support>) -> Result<()> {
    let lacks = |feature: Feature| match features.get(&feature) {
        Some(Support::Lacks(why)) => Some(why.as_str()),
        _ => None,
    };
    if let (Some(why), Some(_)) = (lacks(Feature::VirtioPci), lacks(Feature::VirtioMmio)) {
        return Err(refusal(release, Feature::VirtioPci, why));
    }
    for feature in Feature::ALL.into_iter().filter(|feature| feature.is_required()) {
        if let Some(why) = lacks(feature) {
            return Err(refusal(release, feature, why));
        }
    }
    Ok(())
}

fn refusal(release: &str, feature: Feature, why: &str) -> anyhow::Error {
    let purpose = feature.purpose();
    match why.strip_suffix(" is not set") {
        Some(option) => anyhow::anyhow!(
            "kernel {release} lacks {option}: hv needs it for {purpose}; choose another kernel"
        ),
        None => anyhow::anyhow!(
            "kernel {release} has {why}: hv needs it for {purpose}; give the package of its modules, too"
        ),
    }
}

#[cfg(test)]
mod tests;
