//! From the command line to what a machine is made of: checked values, opened files.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use hv_core::block::file::FileDisk;

use crate::{
    args::{Disk, RunArguments},
    host_files::HostFiles,
    host_memory::HostMemory,
    image::ImageFiles,
    network::Network,
};

/// The slots 16 to 31 of the machine type `hv-1` are for disks.
pub(crate) const MOST_DISKS: usize = 16;

/// All files of a run, open and looked at; nothing has been written yet.
#[derive(Debug)]
pub(crate) struct Files {
    pub(crate) kernel: (File, PathBuf),
    pub(crate) initrd: Option<(File, PathBuf)>,
    /// In the order of the command line.
    pub(crate) disks: Vec<FileDisk>,
    pub(crate) network: Option<Network>,
    /// What a guest from an image has besides.
    pub(crate) image: Option<ImageFiles>,
}

impl Files {
    /// Opens what `arguments` name beside the network. Errors are one line: the file, what is wrong with it, what to do.
    pub(crate) fn open(arguments: &RunArguments, network: Option<Network>) -> anyhow::Result<Self> {
        let kernel = arguments.kernel.clone().context("no kernel is named; use --kernel FILE")?;
        let kernel = (payload("kernel", &kernel)?, kernel);
        let initrd = arguments.initrd.clone();
        let initrd = initrd.map(|path| anyhow::Ok((payload("initrd", &path)?, path))).transpose()?;
        Ok(Self { kernel, initrd, disks: disks(arguments, MOST_DISKS)?, network, image: None })
    }
}

/// Opens the disks that `arguments` name.
pub(crate) fn disks(arguments: &RunArguments, most: usize) -> anyhow::Result<Vec<FileDisk>> {
    let count = arguments.disk.len();
    if count > most {
        bail!("{count} disks are too many: this machine type has room for {most}; use fewer --disk");
    }
    arguments.disk.iter().map(disk).collect()
}

/// Refuses more RAM than this host can ever give.
pub(crate) fn check_memory(memory: u64) -> anyhow::Result<()> {
    HostMemory::of_this_host().map_or(Ok(()), |host| host.check(memory))
}

/// Opens a file that is loaded into the guest.
pub(crate) fn payload(what: &str, path: &Path) -> anyhow::Result<File> {
    let shown = path.display();
    let metadata = path.metadata().map_err(|error| cannot_open(what, path, &error))?;
    if metadata.is_dir() {
        bail!("{what} {shown} is a directory; name the file in it");
    }
    // Opening a FIFO would wait for a writer.
    if !metadata.is_file() {
        bail!("{what} {shown} is not a regular file; copy it into one");
    }
    let file = File::open(path).map_err(|error| cannot_open(what, path, &error))?;
    if metadata.len() == 0 {
        bail!("{what} {shown} is empty; fetch or build it again");
    }
    Ok(file)
}

fn cannot_open(what: &str, path: &Path, error: &io::Error) -> anyhow::Error {
    let shown = path.display();
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
            anyhow::anyhow!("{what} {shown} does not exist; check the path")
        }
        io::ErrorKind::PermissionDenied => {
            anyhow::anyhow!(
                "{what} {shown} may not be read; change its permissions or copy it, as `sudo cp` does"
            )
        }
        _ => anyhow::anyhow!("{what} {shown} cannot be opened: {error}"),
    }
}

fn disk(disk: &Disk) -> anyhow::Result<FileDisk> {
    FileDisk::open(&disk.path, disk.read_only, HostFiles).context("--disk")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn each_wrong_file_has_its_own_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name| folder.path().join(name);
        fs::write(path("empty"), "").unwrap();
        fs::write(path("sound"), "x").unwrap();
        assert!(std::process::Command::new("mkfifo").arg(path("fifo")).status().unwrap().success());
        for (name, expected) in [
            ("none", "does not exist"),
            ("sound/x", "does not exist"),
            (".", "is a directory"),
            ("empty", "is empty"),
            ("fifo", "is not a regular file"),
        ] {
            let line = payload("kernel", &path(name)).unwrap_err().to_string();
            assert!(line.starts_with("kernel ") && line.contains(expected) && line.contains(name), "{line}");
            assert!(line.contains(';'), "what to do: {line}");
        }
        payload("initrd", &path("sound")).unwrap();
    }
}
