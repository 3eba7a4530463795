//! Payloads and how they are loaded: kernels, initial RAM disks, command lines.
//!
//! Loading writes guest RAM straight from the payload's open files and keeps nothing, so a guest's reboot
//! loads the same payload again.

pub mod aarch64;
pub mod console;
mod elf;
mod field;
mod foreign;
mod initrd;
#[cfg(test)]
pub(crate) mod testing;
mod unpack;
pub mod x86_64;

use std::{
    fs::File,
    io::{Seek, SeekFrom},
    ops::Range,
    os::unix::fs::FileExt,
    path::PathBuf,
};

use vm_memory::{Bytes, GuestAddress, GuestMemoryError};

use crate::{memory::GuestRam, tables::fdt::FdtError};

/// What a guest starts from.
#[derive(Debug)]
pub struct Payload {
    /// The kernel.
    pub kernel: PayloadFile,
    /// The initial RAM disk.
    pub initrd: Option<PayloadFile>,
    /// The kernel's command line.
    pub command_line: String,
}

/// An open file of a payload.
#[derive(Debug)]
pub struct PayloadFile {
    /// What it is in messages.
    what: &'static str,
    file: File,
    path: PathBuf,
}

/// A payload cannot be loaded: one line that names the value and the cure.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// A file is not what it should be.
    #[error("{what} {}: {reason}", path.display())]
    File {
        /// `kernel` or `initrd`.
        what: &'static str,
        /// The file's name.
        path: PathBuf,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// The command line is longer than the kernel takes.
    #[error("the command line has {length} bytes, this kernel takes at most {limit}: shorten --append")]
    CommandLine {
        /// Its length in bytes.
        length: usize,
        /// The most that this kernel takes, in bytes.
        limit: usize,
    },
    /// The kernel and its initial RAM disk need more RAM than the guest has.
    #[error(
        "{} MiB of memory are below this kernel's need: give it --memory {}M or more",
        available >> 20, needed.div_ceil(1 << 20)
    )]
    Memory {
        /// Bytes that kernel and initial RAM disk reach up to.
        needed: u64,
        /// Bytes of RAM in reach of a kernel that is starting.
        available: u64,
    },
    /// The device tree cannot be made.
    #[error(transparent)]
    DeviceTree(#[from] FdtError),
    /// The guest has no RAM where something must go.
    #[error("cannot write to guest memory: {0}")]
    Ram(#[from] GuestMemoryError),
}

impl PayloadFile {
    /// A kernel; `path` is for messages and for finding its configuration beside it.
    pub fn kernel(file: File, path: impl Into<PathBuf>) -> Self {
        Self { what: "kernel", file, path: path.into() }
    }

    /// An initial RAM disk; `path` is for messages.
    pub fn initrd(file: File, path: impl Into<PathBuf>) -> Self {
        Self { what: "initrd", file, path: path.into() }
    }

    /// Its size in bytes now.
    fn size(&self) -> Result<u64, BootError> {
        let metadata = self.file.metadata().map_err(|e| self.error(format!("cannot be read: {e}")))?;
        if !metadata.is_file() {
            return Err(self.error("is not a regular file: give the file itself"));
        }
        match metadata.len() {
            0 => Err(self.error("is empty: fetch or build it again")),
            size => Ok(size),
        }
    }

    /// Up to `most` bytes from `offset`: fewer only where the file ends.
    fn read(&self, offset: u64, most: usize) -> Result<Vec<u8>, BootError> {
        let mut bytes = vec![0; most];
        let count = self.fill(offset, &mut bytes)?;
        bytes.truncate(count);
        Ok(bytes)
    }

    /// Fills `bytes` from `offset` on and says how many the file had.
    fn fill(&self, offset: u64, bytes: &mut [u8]) -> Result<usize, BootError> {
        let mut done = 0;
        while let Some(rest) = bytes.get_mut(done..).filter(|rest| !rest.is_empty()) {
            match self.file.read_at(rest, offset.saturating_add(done as u64)) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) => return Err(self.error(format!("cannot be read: {e}"))),
            }
        }
        Ok(done)
    }

    /// Copies `size` bytes from `offset` on to guest RAM, without a copy in between.
    fn copy_to(&self, ram: &GuestRam, address: u64, offset: u64, size: u64) -> Result<(), BootError> {
        let mut file = &self.file;
        file.seek(SeekFrom::Start(offset)).map_err(|e| self.error(format!("cannot be read: {e}")))?;
        let count = usize::try_from(size).map_err(|_| self.error("is too large for this host"))?;
        ram.read_exact_volatile_from(GuestAddress(address), &mut file, count)
            .map_err(|e| self.error(format!("cannot be loaded at {address:#x}: {e}")))
    }

    fn error(&self, reason: impl Into<String>) -> BootError {
        BootError::File { what: self.what, path: self.path.clone(), reason: reason.into() }
    }
}

/// Writes zeros to guest RAM.
fn zero(ram: &GuestRam, range: Range<u64>) -> Result<(), BootError> {
    const ZEROS: [u8; 4096] = [0; 4096];
    let mut address = range.start;
    while address < range.end {
        let count = usize::try_from(range.end - address).map_or(ZEROS.len(), |rest| rest.min(ZEROS.len()));
        ram.read_exact_volatile_from(GuestAddress(address), &mut &ZEROS[..], count)?;
        address += count as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
