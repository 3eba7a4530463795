//! Which console a kernel can write to before it has loaded any module.

use std::{fs::File, io::Read, path::Path};

use memchr::memmem;

use super::{
    PayloadFile,
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

/// Read at a time: fits the second-level cache.
const CHUNK: usize = 128 << 10;
/// A distribution's kernel configuration has some 300 KiB.
const MOST_CONFIGURATION: u64 = 4 << 20;

/// Which console driver `kernel` has built in.
///
/// An ELF kernel is searched for the names its drivers register under; beside a packed one the configuration is
/// read: `config-VERSION` for `vmlinuz-VERSION`, else `config`.
pub fn console_driver(kernel: &PayloadFile, transport: Transport) -> ConsoleDriver {
    if kernel.read(0, elf::MAGIC.len()).is_ok_and(|head| head == elf::MAGIC) {
        return search(kernel, transport).unwrap_or(ConsoleDriver::Unknown);
    }
    configuration(&kernel.path).map_or(ConsoleDriver::Unknown, |text| configured(&text, transport))
}

/// Searches `.rodata`, or all segments of a kernel without section headers.
fn search(kernel: &PayloadFile, transport: Transport) -> Option<ConsoleDriver> {
    let elf = Elf::read(kernel, elf::X86_64).ok()?;
    let ranges = match elf.section(kernel, ".rodata") {
        Some(section) => vec![section],
        None => elf.segments.iter().map(|segment| (segment.offset, segment.file_size)).collect(),
    };
    let bus: &[u8] = match transport {
        Transport::Pci => b"virtio-pci\0",
        Transport::Mmio => b"virtio-mmio\0",
    };
    // drivers/char/virtio_console.c: the name of its device class.
    let mut wanted = vec![memmem::Finder::new(b"virtio-ports\0"), memmem::Finder::new(bus)];
    let mut chunk = vec![0; CHUNK];
    for (start, size) in ranges {
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
    let bus = match transport {
        Transport::Pci => "CONFIG_VIRTIO_PCI=y",
        Transport::Mmio => "CONFIG_VIRTIO_MMIO=y",
    };
    let has = |option: &str| text.lines().any(|line| line == option);
    if has("CONFIG_VIRTIO_CONSOLE=y") && has(bus) { ConsoleDriver::Virtio } else { ConsoleDriver::Uart }
}

#[cfg(test)]
mod tests;
