//! How macOS gives space of a disk's file back. It has no call that makes zeroes and keeps the space.

use std::{fs::File, io, ops::Range};

use hv_core::block::file::FileHost;

use crate::macos;

/// Holes begin and end at blocks of APFS (`fcntl(2)`, `F_PUNCHHOLE`).
const BLOCK: u64 = 4096;

/// The file systems of macOS.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MacFiles;

impl FileHost for MacFiles {
    fn punch_hole(&self, file: &File, range: Range<u64>) -> io::Result<()> {
        if range.start.is_multiple_of(BLOCK) && range.end.is_multiple_of(BLOCK) {
            macos::punch_hole(file, range)
        } else {
            Err(io::ErrorKind::Unsupported.into())
        }
    }
}
