//! Holes in the image's file, where the host makes them without `unsafe`.

use std::{fs::File, io, ops::Range};

/// Makes a hole; `false` if this host or file system makes none.
#[cfg(target_os = "linux")]
pub(super) fn punch(file: &File, range: Range<u64>) -> io::Result<bool> {
    use rustix::{
        fs::{FallocateFlags, fallocate},
        io::Errno,
    };
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    match fallocate(file, flags, range.start, range.end.saturating_sub(range.start)) {
        Ok(()) => Ok(true),
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Makes no hole.
#[cfg(not(target_os = "linux"))]
pub(super) fn punch(_: &File, _: Range<u64>) -> io::Result<bool> {
    Ok(false)
}
