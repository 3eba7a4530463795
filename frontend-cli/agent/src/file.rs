//! Small files of the guest, read in bounded memory.

use std::{
    fs::File,
    io::{self, Read},
};

/// The most bytes of a file that are read.
const MOST: u64 = 4 << 20;

/// The text of `path`, as far as it is text.
pub(crate) fn text(path: &str) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MOST).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
