//! From an image to what its guest is made of: a kernel, an initramfs with the agent, disks, and the command.

use std::{
    fs::{self, File, OpenOptions},
    os::unix::fs::{OpenOptionsExt, symlink},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use hv_agent_protocol::{BootConfig, Disk, Root, Start, Upper};
use hv_core::block::file::FileDisk;
use hv_images::{Architecture, Config, ext4};
use hv_kernels::{Feature, Kernel};

use crate::{
    agent,
    args::{self, RunArguments},
    config::{self, Files, MOST_DISKS},
    folders,
    guests::Registration,
    host_files::HostFiles,
    images, initramfs, linux_signal,
    network::Network,
};

/// What a guest from an image has besides a kernel and the disks of the command line.
#[derive(Debug)]
pub(crate) struct ImageFiles {
    /// The image's root, shared by all guests that are made from it.
    pub(crate) root: FileDisk,
    /// What the guest writes, if it is kept.
    pub(crate) layer: Option<FileDisk>,
    /// The command.
    pub(crate) start: Start,
    /// The signal that asks it to end, if it is another than that of powering off.
    pub(crate) stop_signal: Option<u8>,
}

/// Serial numbers by which the agent finds the disks.
pub(crate) const ROOT_SERIAL: &str = "hv-root";
pub(crate) const LAYER_SERIAL: &str = "hv-layer";

/// The root of a kept guest, in its folder.
const KEPT_ROOT: &str = "lower.erofs";

/// The most bytes that a kept guest writes. The file takes what is in it.
const LAYER_SIZE: u64 = 64 << 30;

/// Words for the kernel. A panic is a reset that the agent did not announce. Self-tests of the kernel's ciphers at each boot are
/// a quarter of an emulated guest's start; a kernel that must have them (FIPS) makes them all the same. Free memory goes back to the
/// host in blocks from 128 KiB (2^5 pages) on: Linux reports from 2 MiB on, and keeps what is scattered.
pub(crate) const KERNEL_WORDS: &str =
    "quiet panic=-1 cryptomgr.notests page_reporting.page_reporting_order=5";

/// What every guest from an image needs of its kernel.
const NEEDED: [Feature; 4] = [Feature::Block, Feature::Vsock, Feature::Erofs, Feature::Overlay];
/// What it gets where its kernel has it.
const WELCOME: [Feature; 3] = [Feature::Console, Feature::Entropy, Feature::Balloon];

/// Opens what a guest from `image` is made of; fetches and unpacks it first if it is not here yet.
///
/// # Errors
/// Image, kernel or disks cannot be had; one line.
pub(crate) fn open(
    arguments: &RunArguments,
    image: &str,
    architecture: Architecture,
    guest: Option<&Registration>,
    network: Option<Network>,
) -> anyhow::Result<Files> {
    if arguments.console == Some(args::Console::Stdio) {
        bail!("standard input and output are the command's: use --console file=PATH or pty with an image");
    }
    let kernel = arguments.kernel.as_ref().map(|name| name.to_str().context("a kernel's name is plain text"));
    let kernel = images::kernel(kernel.transpose()?, architecture)?;
    let image = images::image(image, architecture)?;
    let start = start(arguments, &image.config, &image.reference)?;
    let stop_signal = arguments.stop_signal.or_else(|| stop_signal(&image.config, &image.reference));
    // Open until the disk is: nobody collects it in between.
    let held = image.open_root()?;
    let layer = guest.and_then(Registration::layer);
    let root = layer.as_deref().map(|layer| keep_root(image.root(), layer)).transpose()?;
    let root = root.as_deref().unwrap_or(image.root());
    let root = FileDisk::open(root, true, HostFiles).context("the image's root")?;
    drop(held);
    let layer = layer.map(|path| open_layer(&path)).transpose()?;
    let upper = match layer {
        Some(_) => Upper::Disk(disk(LAYER_SERIAL, "ext4")),
        None => Upper::Memory { limit: None },
    };
    let boot = BootConfig {
        modules: Vec::new(),
        host_name: guest.map_or("hv", Registration::name).to_owned(),
        root: Root { lower: disk(ROOT_SERIAL, "erofs"), upper },
        mounts: Vec::new(),
        networks: network
            .iter()
            .filter(|_| kernel.lacks(Feature::Net).is_none())
            .map(Network::set_up)
            .collect(),
    };
    let executable = match architecture {
        Architecture::X86_64 => agent::X86_64,
        Architecture::Aarch64 => agent::AARCH64,
    };
    let modules = modules(&kernel, arguments, layer.is_some(), network.is_some())?;
    let initramfs = initramfs::build(executable, boot, &modules)?;
    let path = kernel.image();
    Ok(Files {
        kernel: (config::payload("kernel", &path)?, path),
        initrd: Some((initramfs, PathBuf::from("initramfs of the agent"))),
        disks: config::disks(arguments, MOST_DISKS - 2)?,
        network,
        image: Some(ImageFiles { root, layer, start, stop_signal }),
    })
}

fn disk(serial: &str, filesystem: &str) -> Disk {
    Disk { serial: serial.to_owned(), filesystem: filesystem.to_owned() }
}

/// The modules that the guest loads, in order.
fn modules(
    kernel: &Kernel,
    arguments: &RunArguments,
    has_layer: bool,
    has_network: bool,
) -> anyhow::Result<Vec<(String, PathBuf)>> {
    let mut features = match arguments.transport {
        args::Transport::Pci => vec![Feature::VirtioPci],
        args::Transport::Mmio => vec![Feature::VirtioMmio],
    };
    features.extend(NEEDED);
    // A command may also mount what it is given.
    if has_layer || !arguments.disk.is_empty() {
        features.push(Feature::Ext4);
    }
    // A network that nobody asked for is none where the kernel has no driver.
    if has_network && (arguments.network.is_asked_for() || kernel.lacks(Feature::Net).is_none()) {
        features.push(Feature::Net);
    }
    features.extend(WELCOME.into_iter().filter(|feature| kernel.lacks(*feature).is_none()));
    let modules = kernel.modules(&features)?;
    Ok(modules.into_iter().map(|module| (module.name, module.path)).collect())
}

/// The command: the image's, with what the command line says instead and besides.
fn start(arguments: &RunArguments, config: &Config, name: &str) -> anyhow::Result<Start> {
    let command = if arguments.command.is_empty() { &config.command } else { &arguments.command };
    let words: Vec<String> = config.entrypoint.iter().chain(command).cloned().collect();
    if words.is_empty() {
        bail!("image {name} says no command to run; give one: hv run IMAGE -- COMMAND");
    }
    let mut start = agent::start(words, &arguments.process);
    let own = config.environment.iter().filter_map(|variable| variable.split_once('='));
    let own = own.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let user = Some(config.user.clone()).filter(|user| !user.is_empty());
    agent::fill_in(&mut start, own, config.working_directory.clone(), user);
    Ok(start)
}

/// The signal by which the image wants its command to be asked to end. One that cannot be sent is told and passed over:
/// the guest is powered off instead, as it is without one.
fn stop_signal(config: &Config, name: &str) -> Option<u8> {
    let wanted = config.stop_signal.as_deref()?;
    let number = linux_signal::parse(wanted).ok();
    if number.is_none() {
        tracing::warn!(
            "image {name} wants to be stopped by the signal {wanted:.20?}, which cannot be sent; --stop-signal names another"
        );
    }
    number
}

/// The root below a kept guest's layer: that of its first run, whatever the image's name means by now. The file has a
/// second name in the guest's folder, and so outlives the image; a folder on another file system can only refer to it.
fn keep_root(root: &Path, layer: &Path) -> anyhow::Result<PathBuf> {
    let kept = layer.with_file_name(KEPT_ROOT);
    if !layer.exists() && fs::symlink_metadata(&kept).is_err() {
        fs::hard_link(root, &kept)
            .or_else(|_| symlink(root, &kept))
            .with_context(|| format!("{} cannot be kept with the guest", root.display()))?;
    }
    Ok(kept)
}

/// Opens the disk that a kept guest writes to; made if it is not there.
fn open_layer(path: &Path) -> anyhow::Result<FileDisk> {
    if !path.exists() {
        make_layer(path)
            .with_context(|| format!("layer {} cannot be made; check that there is room", path.display()))?;
    }
    FileDisk::open(path, false, HostFiles).context("the guest's layer")
}

/// An empty file system, there whole or not at all.
fn make_layer(path: &Path) -> anyhow::Result<()> {
    let new = path.with_extension("new");
    let file = create(&new)?;
    let mut uuid = [0; 16];
    getrandom::fill(&mut uuid).context("the host gives no random numbers")?;
    ext4::format_empty(&file, LAYER_SIZE, LAYER_SERIAL, uuid)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    Ok(path.parent().map_or(Ok(()), folders::sync)?)
}

fn create(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stop_signal_is_the_images_if_it_can_be_sent() {
        let stop = |text: Option<&str>| {
            stop_signal(&Config { stop_signal: text.map(str::to_owned), ..Config::default() }, "image")
        };
        assert_eq!(stop(None), None);
        assert_eq!(stop(Some("SIGQUIT")), Some(3));
        assert_eq!(stop(Some("10")), Some(10));
        assert_eq!(stop(Some("SIGRTMIN+3")), None);
        assert_eq!(stop(Some("\u{1b}[2J nonsense")), None);
    }
}
