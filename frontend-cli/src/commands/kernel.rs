//! `hv kernel`: the kernels of guests from images.

use super::{show, show_json, show_table};
use crate::{args::KernelCommand, exit_code::Code, images, table};

/// Does what `hv kernel` is told.
pub(crate) fn kernel(command: &KernelCommand) -> anyhow::Result<Code> {
    let store = images::kernels()?;
    match command {
        KernelCommand::Import { sources, modules, name, default } => {
            let kernel = store.import(sources, modules.as_deref(), name.as_deref())?;
            if *default {
                store.set_default(&kernel.name)?;
            }
            show(format!("{}\n", kernel.name).as_bytes());
        }
        KernelCommand::Ls { json: true } => show_json(&store.list()?)?,
        KernelCommand::Ls { json: false } => {
            let listed = store.list()?;
            let rows = listed.iter().map(|kernel| {
                vec![
                    kernel.name.clone(),
                    kernel.architecture.to_string(),
                    kernel.release.clone(),
                    table::size(kernel.size),
                    if kernel.default { "yes" } else { "" }.to_owned(),
                ]
            });
            show_table(["KERNEL", "ARCHITECTURE", "RELEASE", "SIZE", "DEFAULT"], rows);
        }
        KernelCommand::Rm { names } => names.iter().try_for_each(|name| store.remove(name))?,
        KernelCommand::Default { name } => store.set_default(name)?,
    }
    Ok(Code::SUCCESS)
}
