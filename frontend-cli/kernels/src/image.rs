//! Kernel images: for which architecture one is, and of which release, by its first bytes.

use std::io::{BufReader, Read};

use anyhow::{Result, bail, ensure};

use crate::{Architecture, names, unpack::unpacked};

/// First bytes of an image that are enough for [`identify`].
pub const HEAD: u64 = 256 << 10;
/// First bytes of what is packed.
const INNER_HEAD: usize = 4096;

/// What an image says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// For which architecture it is.
    pub architecture: Architecture,
    /// Its release as `uname -r` says it; only a bzImage has it in its header.
    pub release: Option<String>,
}

/// Looks at the first bytes, up to [`HEAD`], of a kernel image.
///
/// Known are bzImage (Documentation/arch/x86/boot.rst), the arm64 Image (Documentation/arch/arm64/booting.rst), plain or
/// packed by gzip or zstd or as EFI zboot, and an x86_64 ELF file.
///
/// # Errors
/// It is no kernel that `hv` can boot.
pub fn identify(head: &[u8]) -> Result<Image> {
    if is_at(head, 0x202, b"HdrS") {
        return bzimage(head);
    }
    if is_at(head, 0, b"\x7fELF") {
        return elf(head);
    }
    if is_at(head, 4, b"zimg") {
        return zboot(head);
    }
    let packed = is_at(head, 0, b"\x1f\x8b") || is_at(head, 0, b"\x28\xb5\x2f\xfd");
    if packed { plain(&inner_head(head)?) } else { plain(head) }
}

fn plain(head: &[u8]) -> Result<Image> {
    if is_at(head, 0x38, b"ARM\x64") {
        return Ok(Image { architecture: Architecture::Aarch64, release: None });
    }
    ensure!(!is_at(head, 0x38, b"RSC\x05"), "is a RISC-V kernel: give one for x86_64 or arm64");
    ensure!(!is_at(head, 0, b"MZ"), "is an EFI program and no kernel: give the vmlinuz that went into it");
    bail!("is no kernel that is known here: give an x86_64 bzImage or an arm64 Image (vmlinuz)")
}

fn bzimage(head: &[u8]) -> Result<Image> {
    // Protocol 2.12 has xloadflags, whose first bit says that there is a 64-bit entry.
    let long_mode = u16_at(head, 0x206).is_some_and(|version| version >= 0x20c)
        && u16_at(head, 0x236).is_some_and(|flags| flags & 1 == 1);
    ensure!(long_mode, "is an x86 kernel without a 64-bit entry: give a 64-bit one");
    let version = u16_at(head, 0x20e).filter(|offset| *offset != 0);
    let text = version.and_then(|offset| head.get(usize::from(offset) + 0x200..));
    let word = text.and_then(|text| text.split(|byte| matches!(byte, 0 | b' ')).next());
    let release = word.and_then(|word| std::str::from_utf8(word).ok()).filter(|word| names::is_release(word));
    Ok(Image { architecture: Architecture::X86_64, release: release.map(str::to_owned) })
}

fn elf(head: &[u8]) -> Result<Image> {
    let machine = u16_at(head, 18);
    let ours = is_at(head, 4, b"\x02\x01") && machine == Some(Architecture::X86_64.elf_machine());
    ensure!(ours, "is an ELF file and no x86_64 kernel: give an x86_64 vmlinux, or an arm64 Image");
    Ok(Image { architecture: Architecture::X86_64, release: None })
}

/// An EFI zboot program (Linux, drivers/firmware/efi/libstub/zboot-header.S): a PE file with a packed kernel.
fn zboot(head: &[u8]) -> Result<Image> {
    let method = head.get(24..56).unwrap_or_default();
    let method = method.split(|byte| *byte == 0).next().unwrap_or_default();
    ensure!(
        matches!(method, b"gzip" | b"zstd" | b"zstd22"),
        "is an EFI kernel packed by {}: give one packed by gzip or zstd, or a plain Image",
        method.escape_ascii()
    );
    let signature = u32_at(head, 0x3c).and_then(|offset| usize::try_from(offset).ok());
    let signature = signature.and_then(|offset| head.get(offset..)).unwrap_or_default();
    match u16_at(signature, 4) {
        Some(0xaa64) if signature.starts_with(b"PE\0\0") => {
            Ok(Image { architecture: Architecture::Aarch64, release: None })
        }
        _ => bail!("is a packed EFI kernel of another architecture: give one for arm64"),
    }
}

/// The first bytes of what is packed in an image that begins with `head`.
fn inner_head(head: &[u8]) -> Result<Vec<u8>> {
    let mut unpacked = unpacked(BufReader::new(head))?;
    let mut inner = vec![0; INNER_HEAD];
    let mut done = 0;
    // The head ends amid the stream, so a failure is not told: what came before it is enough, or is no kernel.
    while let Some(rest) = inner.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match unpacked.read(rest) {
            Ok(0) | Err(_) => break,
            Ok(count) => done += count,
        }
    }
    inner.truncate(done);
    Ok(inner)
}

fn is_at(head: &[u8], offset: usize, mark: &[u8]) -> bool {
    head.get(offset..).is_some_and(|bytes| bytes.starts_with(mark))
}

fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    bytes.get(offset..)?.first_chunk().map(|field| u16::from_le_bytes(*field))
}

fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    bytes.get(offset..)?.first_chunk().map(|field| u32::from_le_bytes(*field))
}

#[cfg(test)]
mod tests;
