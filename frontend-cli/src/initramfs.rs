//! The initramfs of a guest from an image: the agent, its configuration and kernel modules, as a cpio archive of the form
//! "newc" (Documentation/driver-api/early-userspace/buffer-format.rst).

use std::{
    fs::File,
    io::{self, BufWriter, Read, Seek, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use hv_agent_protocol::{BOOT_CONFIG, BootConfig};

/// The most bytes of one module; those of distributions have less than 10 MiB.
const MOST_MODULE: u64 = 256 << 20;

/// File types and permissions, as in `st_mode`.
const FOLDER: u32 = 0o040_755;
const FILE: u32 = 0o100_644;
const PROGRAM: u32 = 0o100_755;
const CHARACTER_DEVICE: u32 = 0o020_600;

/// Folders that the agent mounts on or fills.
const FOLDERS: [&str; 9] =
    ["dev", "proc", "sys", "hv", "hv/lower", "hv/upper", "hv/root", "hv/modules", "root"];

/// Writes the archive to a file without a name. `modules` are decompressed modules by name, in the order to load them; their
/// places go into `boot`.
pub(crate) fn build(
    agent: &[u8],
    mut boot: BootConfig,
    modules: &[(String, PathBuf)],
) -> anyhow::Result<File> {
    if agent.is_empty() {
        bail!("this hv has no agent for guests of this architecture; build hv for it");
    }
    let place = |number, name: &str| format!("hv/modules/{number:03}-{name}.ko");
    boot.modules =
        modules.iter().enumerate().map(|(number, (name, _))| format!("/{}", place(number, name))).collect();
    let boot = boot.encode().context("the guest's configuration is too long")?;

    let full = "the initramfs cannot be written to the temporary folder; make room there, or set TMPDIR";
    let file = tempfile::tempfile().context(full)?;
    let mut archive = Archive { out: BufWriter::new(file), inode: 0 };
    let mut write = || -> io::Result<()> {
        for folder in FOLDERS {
            archive.entry(folder, FOLDER, [0, 0], &[])?;
        }
        // The kernel opens the first for the agent's standard descriptors, before there is anything else in /dev; where it
        // cannot, the second takes their place.
        archive.entry("dev/console", CHARACTER_DEVICE, [5, 1], &[])?;
        archive.entry("dev/null", CHARACTER_DEVICE, [1, 3], &[])?;
        archive.entry("init", PROGRAM, [0, 0], agent)?;
        archive.entry(BOOT_CONFIG.trim_start_matches('/'), FILE, [0, 0], &boot)
    };
    write().context(full)?;
    for (number, (name, path)) in modules.iter().enumerate() {
        let module = read_module(path)?;
        archive.entry(&place(number, name), FILE, [0, 0], &module).context(full)?;
    }
    archive.finish().context(full)
}

fn read_module(path: &Path) -> anyhow::Result<Vec<u8>> {
    let failed = || format!("kernel module {} cannot be read; import the kernel again", path.display());
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MOST_MODULE + 1).read_to_end(&mut bytes))
        .with_context(failed)?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length <= MOST_MODULE) {
        Ok(bytes)
    } else {
        bail!("kernel module {} is longer than {} MiB", path.display(), MOST_MODULE >> 20)
    }
}

/// A cpio archive being written.
struct Archive {
    out: BufWriter<File>,
    inode: u32,
}

impl Archive {
    fn entry(&mut self, name: &str, mode: u32, [major, minor]: [u32; 2], content: &[u8]) -> io::Result<()> {
        self.inode += 1;
        let size = u32::try_from(content.len()).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let name_size = u32::try_from(name.len() + 1).map_err(|_| io::ErrorKind::InvalidFilename)?;
        let (links, owner, time, check) = (1, 0, 0, 0);
        let fields =
            [self.inode, mode, owner, owner, links, time, size, 0, 0, major, minor, name_size, check];
        let mut header = String::from("070701");
        header.extend(fields.iter().map(|field| format!("{field:08x}")));
        header.push_str(name);
        header.push('\0');
        self.padded(header.as_bytes())?;
        self.padded(content)
    }

    /// Header with name, and content, each begin at a multiple of four.
    fn padded(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)?;
        let padding = bytes.len().next_multiple_of(4) - bytes.len();
        self.out.write_all(&[0; 3][..padding])
    }

    fn finish(mut self) -> io::Result<File> {
        self.inode = 0;
        self.entry("TRAILER!!!", 0, [0, 0], &[])?;
        let mut file = self.out.into_inner()?;
        file.rewind()?;
        Ok(file)
    }
}

#[cfg(test)]
mod tests;
