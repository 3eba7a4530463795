//! How Linux gives space of a disk's file back, and makes zeroes without writing them.

use std::{fs::File, io, ops::Range};

use hv_core::block::file::FileHost;
use rustix::{
    fs::{FallocateFlags, fallocate},
    io::Errno,
};

/// The file systems and block devices of Linux.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LinuxFiles;

impl FileHost for LinuxFiles {
    fn punch_hole(&self, file: &File, range: Range<u64>) -> io::Result<()> {
        allocate(file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, range)
    }

    fn zero_range(&self, file: &File, range: Range<u64>) -> io::Result<()> {
        allocate(file, FallocateFlags::ZERO_RANGE | FallocateFlags::KEEP_SIZE, range)
    }
}

fn allocate(file: &File, flags: FallocateFlags, range: Range<u64>) -> io::Result<()> {
    loop {
        match fallocate(file, flags, range.start, range.end.saturating_sub(range.start)) {
            Err(Errno::INTR) => {}
            result => return Ok(result?),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Seek, Write},
        os::unix::fs::MetadataExt,
    };

    use super::*;

    /// Whether it was done. A file system that cannot do it says `Unsupported`, and the disk writes zeroes instead.
    fn done(result: io::Result<()>) -> bool {
        match result {
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::Unsupported);
                false
            }
            Ok(()) => true,
        }
    }

    #[test]
    fn a_hole_reads_as_zero_and_its_neighbours_stay() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[0xaa; 64 << 10]).unwrap();
        file.sync_all().unwrap();
        let before = file.metadata().unwrap().blocks();
        let mut expected = vec![0xaa; 64 << 10];
        if done(LinuxFiles.punch_hole(&file, 8192..24576)) {
            expected[8192..24576].fill(0);
            assert!(file.metadata().unwrap().blocks() < before, "space was given back");
        }
        if done(LinuxFiles.zero_range(&file, 32768..32768 + 512)) {
            expected[32768..32768 + 512].fill(0);
        }
        let mut content = Vec::new();
        file.rewind().unwrap();
        file.read_to_end(&mut content).unwrap();
        assert!(content == expected);
    }
}
