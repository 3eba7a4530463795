//! cpio archives of the "new ASCII" format, as RPM packages and initramfs files have them.

use std::io::Read;

use anyhow::{Context, Result, bail, ensure};

use super::{MOST_PATH, Visit, fill, skip};

const HEADER: usize = 110;
const MOST_ENTRIES: usize = 200_000;
const TRAILER: &[u8] = b"TRAILER!!!";
/// Types in the mode of a file (`S_IFMT`, `S_IFREG`).
const TYPE: u64 = 0o170_000;
const REGULAR: u64 = 0o100_000;

/// Calls `visit` for each regular file.
///
/// # Errors
/// The archive is damaged, or `visit` failed.
pub fn visit(source: &mut dyn Read, visit: &mut Visit<'_>) -> Result<()> {
    let mut header = [0; HEADER];
    for _ in 0..MOST_ENTRIES {
        ensure!(fill(source, &mut header)?, "is truncated");
        match &header[..6] {
            b"070701" | b"070702" => {}
            b"07070X" => bail!("is a package of RPM 6 without names in its archive, which is not known here"),
            _ => bail!("is no cpio archive of the new format, or damaged"),
        }
        let field = |index: usize| {
            let digits = std::str::from_utf8(&header[6 + 8 * index..14 + 8 * index]).ok()?;
            u64::from_str_radix(digits, 16).ok()
        };
        let fields = (|| Some((field(1)?, field(6)?, field(11)?)))();
        let (mode, size, name_size) = fields.context("is a damaged cpio archive: a header is no number")?;
        ensure!(
            (1..=MOST_PATH).contains(&name_size),
            "is a damaged cpio archive: a name of {name_size} bytes"
        );

        let mut name = vec![0; usize::try_from(name_size)?];
        ensure!(fill(source, &mut name)?, "is truncated");
        name.truncate(name.iter().position(|byte| *byte == 0).unwrap_or(name.len()));
        skip(source, padding(HEADER as u64 + name_size))?;
        if name == TRAILER {
            return Ok(());
        }

        let mut content = source.take(size);
        // Of files with several names the last one has the content, and the others none.
        if mode & TYPE == REGULAR && size > 0 {
            visit(&name, size, &mut content)?;
        }
        let left = content.limit();
        skip(source, left + padding(size))?;
    }
    bail!("has more than {MOST_ENTRIES} entries")
}

/// Bytes from `end` to the next multiple of four.
fn padding(end: u64) -> u64 {
    end.wrapping_neg() % 4
}
