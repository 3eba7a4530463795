//! Which console a kernel can write to before it has loaded any module.

use std::{fs::File, io::Read, path::Path};

use memchr::memmem;

use super::{
    PayloadFile, aarch64,
    elf::{self, Elf},
};
use crate::virtio::Transport;

/// What a kernel's own console driver is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConsoleDriver {
    /// The virtio console and its transport are built in.
    Virtio,
    /// The virtio console or its transport is a module or missing; the serial port is all there is.
    Uart,
    /// The kernel does not show it: it is packed, and no configuration lies beside it.
    Unknown,
}

/// What is read to know a kernel by.
const HEAD: usize = 64;
/// Read at a time: fits the second-level cache.
const CHUNK: usize = 128 << 10;
/// A distribution's kernel configuration has some 300 KiB.
const MOST_CONFIGURATION: u64 = 4 << 20;

/// Which console driver `kernel` has built in.
///
/// An ELF kernel is searched for the names its drivers register under; beside another one the configuration is
/// read: `config-VERSION` for `vmlinuz-VERSION`, else `config`. An arm64 Image without one is searched, too.
pub fn console_driver(kernel: &PayloadFile, transport: Transport) -> ConsoleDriver {
    let head = kernel.read(0, HEAD).unwrap_or_default();
    let found = if head.starts_with(elf::MAGIC) {
        search_elf(kernel, transport)
    } else {
        let configured = configuration(&kernel.path).map(|text| configured(&text, transport));
        let is_image = aarch64::is_image(&head);
        configured.or_else(|| is_image.then(|| search_image(kernel, transport)).flatten())
    };
    found.unwrap_or(ConsoleDriver::Unknown)
}

// The names of drivers: drivers/char/virtio_console.c (its device class), drivers/virtio,
// drivers/pci/controller/pci-host-generic.c.
const CONSOLE: &[u8] = b"virtio-ports\0";
const VIRTIO_PCI: &[u8] = b"virtio-pci\0";
const VIRTIO_MMIO: &[u8] = b"virtio-mmio\0";
const PCI_HOST: &[u8] = b"pci-host-generic\0";

/// Searches `.rodata`, or all segments of a kernel without section headers.
fn search_elf(kernel: &PayloadFile, transport: Transport) -> Option<ConsoleDriver> {
    let elf = Elf::read(kernel, elf::X86_64).ok()?;
    let ranges = match elf.section(kernel, ".rodata") {
        Some(section) => vec![section],
        None => elf.segments.iter().map(|segment| (segment.offset, segment.file_size)).collect(),
    };
    let bus = match transport {
        Transport::Pci => VIRTIO_PCI,
        Transport::Mmio => VIRTIO_MMIO,
    };
    search(kernel, &ranges, &[CONSOLE, bus])
}

/// Searches all of an arm64 Image, which has no sections.
fn search_image(kernel: &PayloadFile, transport: Transport) -> Option<ConsoleDriver> {
    let names: &[&[u8]] = match transport {
        Transport::Pci => &[CONSOLE, VIRTIO_PCI, PCI_HOST],
        Transport::Mmio => &[CONSOLE, VIRTIO_MMIO],
    };
    search(kernel, &[(0, kernel.size().ok()?)], names)
}

/// Searches `ranges` (offset and size) of the file for all of `names`.
fn search(kernel: &PayloadFile, ranges: &[(u64, u64)], names: &[&[u8]]) -> Option<ConsoleDriver> {
    let mut wanted: Vec<_> = names.iter().map(memmem::Finder::new).collect();
    let mut chunk = vec![0; CHUNK];
    for &(start, size) in ranges {
        let end = start.saturating_add(size);
        let mut offset = start;
        while offset < end {
            let most = usize::try_from(end - offset).unwrap_or(CHUNK).min(CHUNK);
            let count = kernel.fill(offset, chunk.get_mut(..most)?).ok()?;
            let bytes = chunk.get(..count)?;
            wanted.retain(|finder| finder.find(bytes).is_none());
            if wanted.is_empty() {
                return Some(ConsoleDriver::Virtio);
            }
            // A name may lie across two chunks.
            let overlap = wanted.iter().map(|finder| finder.needle().len()).max().unwrap_or(0);
            match count.checked_sub(overlap) {
                Some(step @ 1..) if count == most => offset += step as u64,
                _ => break,
            }
        }
    }
    Some(ConsoleDriver::Uart)
}

/// The text of the configuration beside the kernel at `path`.
fn configuration(path: &Path) -> Option<String> {
    let path = path.canonicalize().ok()?;
    let version = path.file_name()?.to_str()?.split_once('-').map(|(_, version)| format!("config-{version}"));
    let read = |name: &str| {
        let file = File::open(path.with_file_name(name)).ok()?;
        let mut text = String::new();
        file.take(MOST_CONFIGURATION).read_to_string(&mut text).ok()?;
        text.contains("\nCONFIG_").then_some(text)
    };
    version.and_then(|name| read(&name)).or_else(|| read("config"))
}

fn configured(text: &str, transport: Transport) -> ConsoleDriver {
    let has = |option: &str| text.lines().any(|line| line == option);
    let bus = match transport {
        // On a PC the host bridge needs no driver.
        Transport::Pci => {
            has("CONFIG_VIRTIO_PCI=y") && (!has("CONFIG_ARM64=y") || has("CONFIG_PCI_HOST_GENERIC=y"))
        }
        Transport::Mmio => has("CONFIG_VIRTIO_MMIO=y"),
    };
    if has("CONFIG_VIRTIO_CONSOLE=y") && bus { ConsoleDriver::Virtio } else { ConsoleDriver::Uart }
}

#[cfg(test)]
mod tests;
