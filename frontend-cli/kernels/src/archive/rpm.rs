//! RPM packages of format 3 and 4: a lead, two headers, and a packed cpio archive.
//!
//! What the headers say is not needed: the archive names its files, and its first bytes say how it is packed.

use std::io::{self, BufReader, Read};

use anyhow::{Context, Result, ensure};

use super::{MOST_UNPACKED, Visit, cpio, fill, skip};
use crate::unpack::{Bounded, unpacked};

/// How it begins.
pub const MAGIC: &[u8] = b"\xed\xab\xee\xdb";
const LEAD: u64 = 96;
/// A header's magic, its version, four reserved bytes, two counts.
const INTRODUCTION: usize = 16;
const HEADER_MAGIC: &[u8] = b"\x8e\xad\xe8\x01";
const ENTRY: u64 = 16;
/// RPM's own limits of a header's entries and data.
const MOST_ENTRIES: u32 = 0xffff;
const MOST_DATA: u32 = 256 << 20;

/// Calls `visit` for each regular file that the package would install.
///
/// # Errors
/// It is no RPM package of format 3 or 4, or damaged, or `visit` failed.
pub fn visit(source: &mut dyn Read, visit: &mut Visit<'_>) -> Result<()> {
    let mut magic = [0; MAGIC.len()];
    ensure!(fill(source, &mut magic)? && magic == MAGIC, "is no RPM package");
    skip(source, LEAD - MAGIC.len() as u64)?;
    let signatures = skip_header(source).context("signatures")?;
    skip(source, signatures.wrapping_neg() % 8).context("signatures")?;
    skip_header(source).context("header")?;
    let files = unpacked(BufReader::with_capacity(1 << 16, source)).context("payload")?;
    let mut files = Bounded::new(files, MOST_UNPACKED);
    cpio::visit(&mut files, visit).context("payload")?;
    // To the end, for the stream's checksum.
    io::copy(&mut files, &mut io::sink()).context("payload")?;
    Ok(())
}

/// Passes over a header, and says how many bytes it had.
fn skip_header(source: &mut dyn Read) -> Result<u64> {
    let mut introduction = [0; INTRODUCTION];
    ensure!(
        fill(source, &mut introduction)? && introduction.starts_with(HEADER_MAGIC),
        "is damaged or truncated"
    );
    let [.., a, b, c, d, e, f, g, h] = introduction;
    let (entries, data) = (u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h]));
    ensure!(entries <= MOST_ENTRIES && data <= MOST_DATA, "has {entries} entries and {data} bytes of data");
    let size = u64::from(entries) * ENTRY + u64::from(data);
    skip(source, size)?;
    Ok(size)
}
