//! `hv image`: the cache of images.

use anyhow::bail;
use hv_images::Looks;

use super::{show, show_json, show_table};
use crate::{
    args::{ImageCommand, PullArguments},
    exit_code::Code,
    images, message,
    progress::Bars,
    table,
};

/// Does what `hv image` is told.
pub(crate) fn image(command: &ImageCommand) -> anyhow::Result<Code> {
    let store = images::store()?;
    match command {
        ImageCommand::Pull(PullArguments { name, arch, insecure }) => {
            let image = images::pull(&store, &name.parse()?, images::architecture(*arch), *insecure)?;
            show(format!("{} {}\n", image.reference, image.digest).as_bytes());
        }
        ImageCommand::Import { path, name, select, arch } => {
            let architecture = images::architecture(*arch);
            let (name, progress) = (name.as_deref(), &mut Bars::default());
            let image = match (name, select) {
                (Some(name), Some(select)) => {
                    store.import_selected(path, name, select, architecture, progress)
                }
                _ => store.import(path, name, architecture, progress),
            }?;
            images::tidy(&store);
            show(format!("{} {}\n", image.reference, image.digest).as_bytes());
        }
        ImageCommand::Ls { json } => list(&store, *json)?,
        ImageCommand::Rm { names } => {
            for name in names {
                if !remove(&store, name)? {
                    bail!("there is no image {name}; see `hv image ls`");
                }
            }
            collect(&store)?;
        }
        ImageCommand::Prune => collect(&store)?,
    }
    Ok(Code::SUCCESS)
}

/// Removes an image by its name, as it was given or as the list shows it; says whether there was one.
fn remove(store: &hv_images::Store, name: &str) -> anyhow::Result<bool> {
    if store.list()?.iter().any(|listed| listed.reference == name) {
        return store.remove(name);
    }
    match Looks::of(name)? {
        Looks::Path(path) => match path.canonicalize() {
            Ok(path) => store.remove(&format!("path:{}", path.display())),
            Err(_) => Ok(false),
        },
        Looks::Reference(reference) => store.remove(&reference.to_string()),
    }
}

fn collect(store: &hv_images::Store) -> anyhow::Result<()> {
    let freed = store.collect_garbage()?;
    if freed.count != 0 {
        message::line(&format!("{} MiB are free again", freed.bytes >> 20));
    }
    Ok(())
}

fn list(store: &hv_images::Store, json: bool) -> anyhow::Result<()> {
    let listed = store.list()?;
    if json {
        return show_json(&listed);
    }
    let rows = listed.iter().map(|listed| {
        let digest = table::short(&listed.digest.to_string(), 19);
        let (size, age) = (table::size(listed.size), crate::guests::now().saturating_sub(listed.unpacked));
        vec![
            listed.reference.clone(),
            listed.architecture.to_string(),
            digest,
            size,
            format!("{} ago", table::time(age)),
        ]
    });
    show_table(["IMAGE", "ARCHITECTURE", "DIGEST", "SIZE", "UNPACKED"], rows);
    Ok(())
}
