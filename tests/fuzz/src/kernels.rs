//! Small kernels that are valid, from which targets mutate.

const ADDRESS: u64 = 0x10_0000;

fn put(image: &mut [u8], at: usize, bytes: &[u8]) {
    image[at..at + bytes.len()].copy_from_slice(bytes);
}

/// A bzImage of boot protocol 2.15 (Documentation/arch/x86/boot.rst) that wants to be at 2 MiB.
pub(crate) fn bzimage() -> Vec<u8> {
    let mut image = vec![0; 1024 + 0x400];
    put(&mut image, 0x1f1, &[1]);
    put(&mut image, 0x1f4, &[0x40, 0, 0, 0]);
    put(&mut image, 0x1fe, b"\x55\xaa\xeb\x6aHdrS\x0f\x02");
    put(&mut image, 0x211, &[1]);
    put(&mut image, 0x22c, &0x7fff_ffff_u32.to_le_bytes());
    put(&mut image, 0x230, &0x20_0000_u32.to_le_bytes());
    put(&mut image, 0x234, &[1, 21, 0x7f, 0]);
    put(&mut image, 0x238, &2047_u32.to_le_bytes());
    put(&mut image, 0x258, &0x20_0000_u64.to_le_bytes());
    put(&mut image, 0x260, &0x10_0000_u32.to_le_bytes());
    image[1024..].fill(0x90);
    image
}

/// Offset and size of what a loader reads of [`bzimage`].
pub(crate) const BZIMAGE_FIELDS: [(usize, usize); 13] = [
    (0x1f1, 1),
    (0x1f4, 4),
    (0x1fe, 2),
    (0x201, 1),
    (0x206, 2),
    (0x211, 1),
    (0x22c, 4),
    (0x230, 4),
    (0x234, 1),
    (0x236, 2),
    (0x238, 4),
    (0x258, 8),
    (0x260, 4),
];

/// An ELF kernel with a 64-bit entry, a PVH note, and a section that names virtio's drivers.
pub(crate) fn vmlinux() -> Vec<u8> {
    let mut image = vec![0; 0x500];
    put(&mut image, 0, b"\x7fELF\x02\x01\x01");
    put(&mut image, 0x10, &[2, 0, 62, 0, 1]);
    put(&mut image, 0x18, &(ADDRESS + 0x80).to_le_bytes());
    put(&mut image, 0x20, &64_u64.to_le_bytes());
    put(&mut image, 0x28, &SECTIONS.to_le_bytes());
    put(&mut image, 0x34, &[64, 0, 56, 0, 3, 0, 64, 0, 3, 0, 1, 0]);
    program(&mut image, 0, 1, [0x200, ADDRESS, 0x100, 0x180]);
    program(&mut image, 1, 1, [0x300, ADDRESS + 0x2000, 0x40, 0x1000]);
    program(&mut image, 2, 4, [NOTE, 0, 24, 24]);
    image[0x200..0x340].fill(0x90);
    put(&mut image, 0x300, b"virtio-ports\0virtio-pci\0virtio-mmio\0");
    put(&mut image, 0x340, b"\x04\0\0\0\x08\0\0\0\x12\0\0\0Xen\0");
    put(&mut image, 0x350, &(ADDRESS + 0x40).to_le_bytes());
    put(&mut image, 0x360, b"\0.shstrtab\0.rodata\0");
    section(&mut image, 1, 1, [0x360, 19]);
    section(&mut image, 2, 11, [0x300, 0x40]);
    image
}

/// Offset and size of what a loader reads of [`vmlinux`]: the header's, the program headers', the note's.
pub(crate) const VMLINUX_FIELDS: [(usize, usize); 28] = [
    (0x10, 2),
    (0x18, 8),
    (0x20, 8),
    (0x28, 8),
    (0x36, 2),
    (0x38, 2),
    (0x3a, 2),
    (0x3c, 2),
    (0x3e, 2),
    (0x40, 1),
    (0x48, 8),
    (0x58, 8),
    (0x60, 8),
    (0x68, 8),
    (0x78, 1),
    (0x80, 8),
    (0x90, 8),
    (0x98, 8),
    (0xa0, 8),
    (0xb8, 8),
    (0xd0, 8),
    (0x340, 4),
    (0x344, 4),
    (0x348, 4),
    (0x350, 8),
    (0x480, 4),
    (0x498, 8),
    (0x4a0, 8),
];

const NOTE: u64 = 0x340;
const SECTIONS: u64 = 0x400;

/// Program header `index`: type; offset, physical address, size in the file, size in memory.
fn program(image: &mut [u8], index: usize, kind: u8, [offset, address, in_file, in_memory]: [u64; 4]) {
    let at = 64 + 56 * index;
    put(image, at, &[kind]);
    for (field, value) in [(8, offset), (0x18, address), (0x20, in_file), (0x28, in_memory)] {
        put(image, at + field, &value.to_le_bytes());
    }
}

/// Section header `index`: name; offset, size.
fn section(image: &mut [u8], index: usize, name: u8, [offset, size]: [u64; 2]) {
    let at = 0x400 + 64 * index;
    put(image, at, &[name]);
    put(image, at + 0x18, &offset.to_le_bytes());
    put(image, at + 0x20, &size.to_le_bytes());
}

/// An arm64 Image (Documentation/arch/arm64/booting.rst) with an EFI stub of one section.
pub(crate) fn arm64_image() -> Vec<u8> {
    let mut image = vec![0x90; 0x500];
    image[..0x200].fill(0);
    put(&mut image, 0, b"MZ");
    put(&mut image, 0x10, &0x4000_u64.to_le_bytes());
    put(&mut image, 0x18, &[0b1010]);
    put(&mut image, 0x38, b"ARM\x64\x40");
    put(&mut image, 0x40, b"PE\0\0\x64\xaa\x01");
    put(&mut image, 0x54, &[16]);
    put(&mut image, 0x68 + 16, &[0, 3, 0, 0, 0, 2]);
    put(&mut image, 0x300, b"virtio-ports\0virtio-pci\0virtio-mmio\0pci-host-generic\0");
    image
}

/// Offset and size of what a loader reads of [`arm64_image`].
pub(crate) const ARM64_FIELDS: [(usize, usize); 8] =
    [(8, 8), (0x10, 8), (0x18, 1), (0x3c, 4), (0x46, 2), (0x54, 2), (0x78, 4), (0x7c, 4)];

/// An EFI zboot program with `payload`, packed by `method`.
pub(crate) fn zboot(method: &str, payload: &[u8]) -> Vec<u8> {
    let mut image = vec![0; 0x80];
    put(&mut image, 0, b"MZ\0\0zimg\x80");
    put(&mut image, 12, &u32::try_from(payload.len()).expect("a small kernel").to_le_bytes());
    put(&mut image, 24, method.as_bytes());
    image.extend(payload);
    image
}

/// Offset and size of what a loader reads of [`zboot`], and of the start of a packed stream.
pub(crate) const ZBOOT_FIELDS: [(usize, usize); 7] =
    [(8, 4), (12, 4), (24, 8), (3, 1), (4, 1), (0x83, 1), (0x84, 2)];
