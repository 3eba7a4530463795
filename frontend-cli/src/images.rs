//! The images and kernels of this user: their stores, and what a word of the command line names in them.

use anyhow::Context;
use hv_images::{Architecture, Image, Looks, Reference, Registry, registry::Options};

use crate::{args::GuestArchitecture, backend, folders, progress::Bars};

/// The cache of images.
pub(crate) fn store() -> anyhow::Result<hv_images::Store> {
    hv_images::Store::open(&folders::data()?.join("images"))
}

/// The kernels for guests from images.
pub(crate) fn kernels() -> anyhow::Result<hv_kernels::Store> {
    hv_kernels::Store::open(folders::data()?.join("kernels"))
}

/// The architecture that was asked for, or that of the guests of this host.
pub(crate) fn architecture(asked: Option<GuestArchitecture>) -> Architecture {
    match asked {
        Some(GuestArchitecture::X86_64) => Architecture::X86_64,
        Some(GuestArchitecture::Aarch64) => Architecture::Aarch64,
        None => backend::guest_architecture(),
    }
}

/// The image that `word` stands for, made or fetched if it is not here yet.
///
/// # Errors
/// There is no such image for this architecture, or it cannot be had.
pub(crate) fn image(word: &str, architecture: Architecture) -> anyhow::Result<Image> {
    let store = store()?;
    match Looks::of(word)? {
        Looks::Path(path) => {
            let image = store.import(&path, None, architecture, &mut Bars::default())?;
            tidy(&store);
            Ok(image)
        }
        Looks::Reference(reference) => match store.find(word, architecture)? {
            Some(image) => Ok(image),
            None => pull(&store, &reference, architecture, false),
        },
    }
}

/// Removes what was replaced. An image is no worse where that fails.
pub(crate) fn tidy(store: &hv_images::Store) {
    if let Err(error) = store.collect_garbage() {
        tracing::debug!("what images no longer need stays: {error:#}");
    }
}

/// Fetches an image, if it is not here as its registry has it.
///
/// # Errors
/// The registry cannot be reached, has no such image, or sends what is not sound.
pub(crate) fn pull(
    store: &hv_images::Store,
    reference: &Reference,
    architecture: Architecture,
    insecure: bool,
) -> anyhow::Result<Image> {
    let options = Options { insecure, ..Options::from_environment(|name| std::env::var_os(name)) };
    let mut registry = Registry::new(reference, options)?;
    let image = store.pull(&reference.to_string(), &mut registry, architecture, &mut Bars::default())?;
    tidy(store);
    Ok(image)
}

/// The kernel called `name`, or the default one for this architecture.
///
/// # Errors
/// There is none.
pub(crate) fn kernel(name: Option<&str>, architecture: Architecture) -> anyhow::Result<hv_kernels::Kernel> {
    let store = kernels()?;
    let wanted = match architecture {
        Architecture::X86_64 => hv_kernels::Architecture::X86_64,
        Architecture::Aarch64 => hv_kernels::Architecture::Aarch64,
    };
    let Some(name) = name else {
        return store.default(wanted)?.with_context(|| {
            format!(
                "there is no kernel for {architecture} guests yet: `hv kernel import` a distribution's package, its \
                 vmlinuz with --modules, or /boot"
            )
        });
    };
    let kernel = store.find(name)?;
    anyhow::ensure!(
        kernel.architecture == wanted,
        "kernel {name} is for {} and the guest's architecture is {architecture}; see `hv kernel ls`",
        kernel.architecture
    );
    Ok(kernel)
}
