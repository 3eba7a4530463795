//! The initial RAM disk: what it may be and where it goes.

use super::{BootError, PayloadFile};

/// What Linux unpacks or mounts (init/initramfs.c, lib/decompress.c, init/do_mounts_rd.c): where, which bytes.
const MARKS: &[(usize, &[u8])] = &[
    (0, b"070701"),
    (0, b"070702"),
    (0, b"\x1f\x8b"),
    (0, b"\x1f\x9e"),
    (0, b"BZh"),
    (0, b"\x5d\x00\x00"),
    (0, b"\xfd7zXZ\0"),
    (0, b"\x89LZO"),
    (0, b"\x02\x21\x4c\x18"),
    (0, b"\x28\xb5\x2f\xfd"),
    (0, b"hsqs"),
    (0, b"\x45\x3d\xcd\x28"),
    (0, b"-rom1fs-"),
    (0x438, b"\x53\xef"),
];
const PAGE: u64 = 4096;

/// The size in bytes of `initrd`, if Linux can use it.
pub(super) fn check(initrd: &PayloadFile) -> Result<u64, BootError> {
    let size = initrd.size()?;
    let head = initrd.read(0, 0x43a)?;
    let known = |(offset, mark): &(usize, &[u8])| head.get(*offset..).is_some_and(|at| at.starts_with(mark));
    if MARKS.iter().any(known) {
        return Ok(size);
    }
    Err(initrd
        .error("is no initial RAM disk: give a cpio archive (newc), plain or packed as the kernel takes it"))
}

/// The address for `size` bytes as high as they go between `floor` and `ceiling`, at a page's start.
pub(super) fn place(size: u64, floor: u64, ceiling: u64) -> Option<u64> {
    let address = ceiling.checked_sub(size)? / PAGE * PAGE;
    (address >= floor).then_some(address)
}
