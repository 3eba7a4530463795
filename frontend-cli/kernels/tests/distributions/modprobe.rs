//! What `modprobe` and `depmod` say of a kernel's modules.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    process::Command,
};

use anyhow::{Context, Result, ensure};
use hv_kernels::{Architecture, Feature};

use crate::{Fetched, package::program};

/// The modules by which `modprobe` is asked for a feature.
pub(crate) fn names(feature: Feature, architecture: Architecture) -> &'static [&'static str] {
    match feature {
        Feature::VirtioPci => &["virtio_pci"],
        Feature::VirtioMmio => &["virtio_mmio"],
        Feature::Block => &["virtio_blk"],
        Feature::Net => &["virtio_net"],
        Feature::Console => &["virtio_console"],
        Feature::Entropy => &["virtio-rng"],
        Feature::Vsock => &["vmw_vsock_virtio_transport"],
        Feature::Balloon => &["virtio_balloon"],
        Feature::Fs => &["fuse", "virtiofs"],
        Feature::Ext4 => &["ext4"],
        Feature::Overlay => &["overlay"],
        Feature::Erofs => &["erofs"],
        Feature::PowerButton if architecture == Architecture::X86_64 => &["button", "evdev"],
        Feature::PowerButton => &["gpio_keys", "evdev"],
    }
}

/// The modules that it would load for one.
pub(crate) fn shown(kernel: &Fetched, module: &str) -> Result<BTreeSet<String>> {
    let mut command = Command::new(program("modprobe").context("no modprobe")?);
    // Without the host's own configuration.
    command.args(["-C", "/dev/null", "-S", &kernel.release, "-d"]).arg(kernel.folder.join("modules"));
    let output = command.args(["--show-depends", module]).output()?;
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "modprobe --show-depends {module}: {error}");
    let text = String::from_utf8(output.stdout)?;
    let paths = text.lines().filter_map(|line| line.strip_prefix("insmod "));
    Ok(paths.filter_map(|path| name(path.split_ascii_whitespace().next()?)).collect())
}

/// `modules.dep`: what each module depends on.
pub(crate) fn depends(kernel: &Fetched) -> Result<BTreeMap<String, Vec<String>>> {
    let path = kernel.folder.join("modules/lib/modules").join(&kernel.release).join("modules.dep");
    let text = fs::read_to_string(path)?;
    let lines = text.lines().filter_map(|line| line.split_once(':'));
    Ok(lines
        .filter_map(|(path, rest)| Some((name(path)?, rest.split(' ').filter_map(name).collect())))
        .collect())
}

fn name(path: &str) -> Option<String> {
    let file = path.rsplit('/').next()?;
    Some(file.split_once(".ko")?.0.replace('-', "_"))
}
