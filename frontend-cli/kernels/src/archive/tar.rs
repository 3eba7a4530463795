//! tar archives: regular files, with the long names of GNU and pax.

use std::io::Read;

use anyhow::{Context, Result, bail, ensure};
use tar::{Archive, EntryType, PaxExtensions};

use super::{MOST_PATH, Visit};
use crate::unpack::read_all;

/// Bytes of the largest pax header.
const MOST_EXTENSIONS: u64 = 64 << 10;
const MOST_ENTRIES: usize = 200_000;

/// Calls `visit` for each regular file.
///
/// # Errors
/// The archive is damaged, or `visit` failed.
pub fn visit(source: &mut dyn Read, visit: &mut Visit<'_>) -> Result<()> {
    // The crate would read a long name without a limit, so it hands such entries to us as they are.
    let mut long_name = None;
    for (count, entry) in Archive::new(source).entries()?.raw(true).enumerate() {
        ensure!(count < MOST_ENTRIES, "has more than {MOST_ENTRIES} entries");
        let mut entry = entry.context("is a damaged tar archive")?;
        match entry.header().entry_type() {
            EntryType::GNULongName => {
                let mut name = read_all(&mut entry, MOST_PATH).context("a name of a file")?;
                name.truncate(name.iter().position(|byte| *byte == 0).unwrap_or(name.len()));
                long_name = Some(name);
            }
            EntryType::XHeader => {
                let extensions = read_all(&mut entry, MOST_EXTENSIONS).context("a pax header")?;
                long_name = pax_path(&extensions)?.or(long_name);
            }
            EntryType::GNULongLink | EntryType::XGlobalHeader => {}
            EntryType::Regular | EntryType::Continuous => {
                let name = long_name.take().unwrap_or_else(|| entry.path_bytes().into_owned());
                let size = entry.size();
                visit(&name, size, &mut entry)?;
            }
            _ => long_name = None,
        }
    }
    Ok(())
}

/// The name that a pax header gives to the next file.
fn pax_path(extensions: &[u8]) -> Result<Option<Vec<u8>>> {
    let mut path = None;
    for extension in PaxExtensions::new(extensions) {
        let extension = extension.context("a pax header")?;
        match extension.key_bytes() {
            b"path" => path = Some(extension.value_bytes().to_vec()),
            // Only files of more than 8 GiB need it, and what follows would be read at the wrong place.
            b"size" => bail!("holds a file of more than 8 GiB"),
            _ => {}
        }
    }
    Ok(path)
}
