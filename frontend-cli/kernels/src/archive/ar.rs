//! The `ar` archive that a Debian package is (deb(5)).

use std::io::Read;

use anyhow::{Context, Result, ensure};

use super::{fill, skip};

/// How it begins.
pub const MAGIC: &[u8] = b"!<arch>\n";
/// A Debian package has three members, and `_` members of others may stand between.
const MOST_MEMBERS: usize = 64;
const HEADER: usize = 60;

/// Calls `visit` for each member with its name, its size and its content.
///
/// # Errors
/// The archive is damaged, or `visit` failed.
pub fn visit(
    source: &mut dyn Read,
    visit: &mut dyn FnMut(&str, u64, &mut dyn Read) -> Result<()>,
) -> Result<()> {
    let mut magic = [0; MAGIC.len()];
    ensure!(fill(source, &mut magic)? && magic == MAGIC, "is no ar archive");
    let mut header = [0; HEADER];
    let mut members = 0;
    while fill(source, &mut header)? {
        members += 1;
        ensure!(members <= MOST_MEMBERS, "has more than {MOST_MEMBERS} members");
        let (name, size) = parse(&header).context("is a damaged ar archive: a member's header is wrong")?;
        let mut content = source.take(size);
        visit(name, size, &mut content)?;
        let left = content.limit();
        skip(source, left)?;
        // Members begin at even offsets; the last one's padding may be missing.
        if size % 2 == 1 && !fill(source, &mut [0])? {
            break;
        }
    }
    Ok(())
}

/// Name and size of the member that `header` is of.
fn parse(header: &[u8; HEADER]) -> Option<(&str, u64)> {
    let name = std::str::from_utf8(&header[..16]).ok()?.trim_end_matches(' ').trim_end_matches('/');
    let size = std::str::from_utf8(&header[48..58]).ok()?.trim_end_matches(' ');
    (header.ends_with(b"`\n") && size.bytes().all(|byte| byte.is_ascii_digit())).then_some(())?;
    Some((name, size.parse().ok()?))
}
