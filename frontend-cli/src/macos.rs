//! What macOS gives only to C programs.
#![expect(unsafe_code, reason = "calls of libc that no safe crate offers")]

use std::{fs::File, io, ops::Range, os::fd::AsRawFd};

/// Bytes of RAM that this Mac has; nothing if it does not say.
pub(crate) fn physical_memory() -> Option<u64> {
    // SAFETY: `sysconf` takes a number and touches no memory of ours.
    let (pages, size) = unsafe { (libc::sysconf(libc::_SC_PHYS_PAGES), libc::sysconf(libc::_SC_PAGESIZE)) };
    u64::try_from(pages).ok()?.checked_mul(u64::try_from(size).ok()?)
}

/// Gives the space of whole blocks of `file` back; they then read as zero.
pub(crate) fn punch_hole(file: &File, range: Range<u64>) -> io::Result<()> {
    let offset =
        |at: u64| libc::off_t::try_from(at).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput));
    let hole = libc::fpunchhole_t {
        fp_flags: 0,
        reserved: 0,
        fp_offset: offset(range.start)?,
        fp_length: offset(range.end.saturating_sub(range.start))?,
    };
    // SAFETY: the descriptor is open while `file` is borrowed, and `F_PUNCHHOLE` reads one `fpunchhole_t`.
    match unsafe { libc::fcntl(file.as_raw_fd(), libc::F_PUNCHHOLE, &raw const hole) } {
        -1 => match io::Error::last_os_error() {
            error if error.raw_os_error() == Some(libc::ENOTSUP) => Err(io::ErrorKind::Unsupported.into()),
            error => Err(error),
        },
        _ => Ok(()),
    }
}
