//! Packages and the archives inside them, read as a stream: nothing is written, and no name is taken for a path.

pub mod ar;
pub mod cpio;
pub mod deb;
pub mod rpm;
pub mod tar;

use std::io::{self, Read};

use anyhow::{Result, ensure};

/// Called for each regular file of an archive: its name as the archive has it, its size in bytes, its content.
/// What of the content is not read is passed over.
pub type Visit<'a> = dyn FnMut(&[u8], u64, &mut dyn Read) -> Result<()> + 'a;

/// Bytes of the longest name of a file.
const MOST_PATH: u64 = 4096;
/// Bytes that a package may unpack to.
const MOST_UNPACKED: u64 = 4 << 30;

/// Passes over `count` bytes.
fn skip(source: &mut (impl Read + ?Sized), count: u64) -> Result<()> {
    let passed = io::copy(&mut source.take(count), &mut io::sink())?;
    ensure!(passed == count, "is truncated");
    Ok(())
}

/// Reads into `bytes`; `false` if the source was at its end.
fn fill(source: &mut (impl Read + ?Sized), bytes: &mut [u8]) -> Result<bool> {
    let mut done = 0;
    while let Some(rest) = bytes.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match source.read(rest) {
            Ok(0) if done == 0 => return Ok(false),
            Ok(0) => anyhow::bail!("is truncated"),
            Ok(count) => done += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests;
