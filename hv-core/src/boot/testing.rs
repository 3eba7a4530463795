//! Small kernels made by the test, with every field in reach.

use std::{
    fs::File,
    io::{Seek, Write},
};

use super::PayloadFile;

/// An open file with `bytes` and no name.
pub(crate) fn file(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file.rewind().unwrap();
    file
}

pub(crate) fn kernel(bytes: &[u8]) -> PayloadFile {
    PayloadFile::kernel(file(bytes), "vmlinuz")
}

pub(crate) fn initrd(bytes: &[u8]) -> PayloadFile {
    PayloadFile::initrd(file(bytes), "initrd.img")
}

pub(crate) fn put(image: &mut [u8], offset: usize, bytes: &[u8]) {
    image[offset..offset + bytes.len()].copy_from_slice(bytes);
}

/// Physical address at which [`bzimage`] wants to be.
pub(crate) const PREFERRED: u64 = 0x20_0000;
/// Offset of the packed kernel in [`bzimage`].
pub(crate) const SETUP_SIZE: usize = 1024;
/// Size of the packed kernel in [`bzimage`].
pub(crate) const PACKED: u16 = 0x1230;

/// A bzImage of protocol 2.15 whose packed kernel is a pattern.
pub(crate) fn bzimage() -> Vec<u8> {
    let mut image = vec![0; SETUP_SIZE];
    put(&mut image, 0x1f1, &[1]);
    put(&mut image, 0x1f4, &u32::from(PACKED / 16).to_le_bytes());
    put(&mut image, 0x1fe, b"\x55\xaa\xeb\x6aHdrS\x0f\x02");
    put(&mut image, 0x211, &[1]);
    put(&mut image, 0x22c, &0x7fff_ffff_u32.to_le_bytes());
    put(&mut image, 0x230, &0x20_0000_u32.to_le_bytes());
    put(&mut image, 0x234, &[1, 21, 0x7f, 0]);
    put(&mut image, 0x238, &2047_u32.to_le_bytes());
    put(&mut image, 0x258, &PREFERRED.to_le_bytes());
    put(&mut image, 0x260, &0x10_0000_u32.to_le_bytes());
    // Behind the setup header's end lies code, which the boot parameters must not get.
    image[0x26c..0x2f0].fill(0xcc);
    image.extend(pattern(PACKED.into()));
    image
}

pub(crate) fn pattern(size: usize) -> Vec<u8> {
    (1..=251).cycle().take(size).collect()
}

/// A `PT_LOAD` or `PT_NOTE` segment to make.
#[derive(Debug, Clone)]
pub(crate) struct MakeSegment {
    pub(crate) kind: u32,
    pub(crate) address: u64,
    pub(crate) bytes: Vec<u8>,
    pub(crate) memory_size: u64,
}

pub(crate) fn load(address: u64, bytes: Vec<u8>, memory_size: u64) -> MakeSegment {
    MakeSegment { kind: 1, address, bytes, memory_size }
}

pub(crate) fn note(owner: &[u8], kind: u32, description: &[u8]) -> Vec<u8> {
    let size = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap();
    let mut note = [size(owner) + 1, size(description), kind].map(u32::to_le_bytes).concat();
    note.extend(owner);
    note.resize((note.len() + 1).next_multiple_of(4), 0);
    note.extend(description);
    note.resize(note.len().next_multiple_of(4), 0);
    note
}

pub(crate) fn notes(notes: &[Vec<u8>]) -> MakeSegment {
    let bytes = notes.concat();
    MakeSegment { kind: 4, address: 0, memory_size: bytes.len() as u64, bytes }
}

/// An x86_64 executable without section headers.
pub(crate) fn elf(entry: u64, segments: &[MakeSegment]) -> Vec<u8> {
    let mut image = vec![0; 64 + 56 * segments.len()];
    put(&mut image, 0, b"\x7fELF\x02\x01\x01");
    put(&mut image, 0x10, b"\x02\x00\x3e\x00\x01");
    put(&mut image, 0x18, &entry.to_le_bytes());
    put(&mut image, 0x20, &64_u64.to_le_bytes());
    put(&mut image, 0x34, &[64, 0, 56, 0, segments.len().try_into().unwrap()]);
    for (index, segment) in segments.iter().enumerate() {
        let at = 64 + 56 * index;
        put(&mut image, at, &segment.kind.to_le_bytes());
        let sizes =
            [image.len() as u64, 0xffff_ffff_8000_0000_u64.wrapping_add(segment.address), segment.address];
        put(&mut image, at + 8, &sizes.map(u64::to_le_bytes).concat());
        let sizes = [segment.bytes.len() as u64, segment.memory_size, 4096];
        put(&mut image, at + 0x20, &sizes.map(u64::to_le_bytes).concat());
        image.extend(&segment.bytes);
    }
    image
}

/// The PVH entry of [`vmlinux`].
pub(crate) const PVH_ENTRY: u64 = 0x10_0040;
/// The 64-bit entry of [`vmlinux`].
pub(crate) const ENTRY: u64 = 0x10_0080;

/// An ELF kernel with both entries, two segments and some bss, that says it is Linux.
pub(crate) fn vmlinux() -> Vec<u8> {
    let segments = [
        load(0x10_0000, pattern(5000), 5000),
        load(0x10_2000, pattern(100), 9000),
        notes(&[note(b"Linux", 0x101, &[0; 4]), note(b"Xen", 18, &PVH_ENTRY.to_le_bytes())]),
    ];
    elf(ENTRY, &segments)
}

/// Bytes that [`arm64_image`] takes in memory.
pub(crate) const ARM64_SIZE: u64 = 0x4_0000;

/// A little-endian arm64 Image with an EFI stub, whose one section is a pattern.
pub(crate) fn arm64_image() -> Vec<u8> {
    const PE: u32 = 0x40;
    let mut image = vec![0; 0x1000];
    put(&mut image, 0, b"MZ");
    put(&mut image, 0x10, &ARM64_SIZE.to_le_bytes());
    put(&mut image, 0x18, &[0b1010]);
    put(&mut image, 0x38, b"ARM\x64");
    put(&mut image, 0x3c, &PE.to_le_bytes());
    put(&mut image, 0x40, b"PE\0\0\x64\xaa\x01\0");
    put(&mut image, 0x54, &160_u16.to_le_bytes());
    put(&mut image, 0xf8 + 16, &[0x1_0000_u32, 0x1000].map(u32::to_le_bytes).concat());
    image.extend(pattern(0x1_0000));
    image
}

/// `bytes` packed by gzip.
pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packer.write_all(bytes).unwrap();
    packer.finish().unwrap()
}

/// `bytes` packed by zstd.
pub(crate) fn zstd(bytes: &[u8]) -> Vec<u8> {
    ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
}

/// An EFI zboot program for arm64 with `payload`, packed by `method`.
pub(crate) fn zboot(method: &str, payload: &[u8]) -> Vec<u8> {
    const OFFSET: u32 = 0x400;
    let mut image = vec![0; OFFSET as usize];
    put(&mut image, 0, b"MZ\0\0zimg");
    put(&mut image, 8, &[OFFSET, payload.len().try_into().unwrap()].map(u32::to_le_bytes).concat());
    put(&mut image, 24, method.as_bytes());
    put(&mut image, 0x38, &0x8182_23cd_u32.to_le_bytes());
    image.extend(payload);
    // The size of what is packed, and the program's own sections.
    image.extend([0x55; 100]);
    image
}
