//! The block in front of each entry (POSIX.1-2024, pax, "ustar Interchange Format"; GNU tar, "Basic Tar Format").

use std::ops::Range;

use anyhow::{Context, Result, bail, ensure};

use super::{EntryKind, sparse::Segment};
use crate::limits::MOST_SEGMENTS;

/// Bytes in a block.
pub(super) const BLOCK: usize = 512;

const NAME: Range<usize> = 0..100;
const MODE: Range<usize> = 100..108;
const UID: Range<usize> = 108..116;
const GID: Range<usize> = 116..124;
const SIZE: Range<usize> = 124..136;
const MTIME: Range<usize> = 136..148;
const CHECKSUM: Range<usize> = 148..156;
const KIND: usize = 156;
const LINK: Range<usize> = 157..257;
const MAGIC: Range<usize> = 257..263;
const MAJOR: Range<usize> = 329..337;
const MINOR: Range<usize> = 337..345;
const PREFIX: Range<usize> = 345..500;
// GNU's own fields, where ustar has the prefix.
const SPARSE: Range<usize> = 386..482;
const SPARSE_GOES_ON: usize = 482;
const SPARSE_SIZE: Range<usize> = 483..495;
// A block of more pieces.
const EXTENSION: Range<usize> = 0..504;
const EXTENSION_GOES_ON: usize = 504;
const NUMBER: usize = 12;

/// A header whose checksum is right.
pub(super) struct Header([u8; BLOCK]);

impl Header {
    pub(super) fn new(block: [u8; BLOCK]) -> Result<Self> {
        let header = Self(block);
        let promised = header.number(CHECKSUM).context("not a tar header")?;
        let bytes = || block.iter().enumerate().map(|(at, byte)| if CHECKSUM.contains(&at) { b' ' } else { *byte });
        let unsigned: u64 = bytes().map(u64::from).sum();
        // Some old writers added signed bytes.
        let signed: i64 = bytes().map(|byte| i64::from(byte.cast_signed())).sum();
        ensure!(
            promised == i128::from(unsigned) || promised == i128::from(signed),
            "not a tar header: its checksum is wrong"
        );
        Ok(header)
    }

    fn field(&self, range: Range<usize>) -> &[u8] {
        self.0.get(range).unwrap_or_default()
    }

    fn text(&self, range: Range<usize>) -> Vec<u8> {
        let field = self.field(range);
        field.split(|byte| *byte == 0).next().unwrap_or_default().to_vec()
    }

    fn number(&self, range: Range<usize>) -> Result<i128> {
        number(self.field(range))
    }

    fn natural(&self, range: Range<usize>, what: &str) -> Result<u64> {
        let number = self.number(range).with_context(|| what.to_owned())?;
        u64::try_from(number).ok().with_context(|| format!("{what} {number}"))
    }

    pub(super) fn kind(&self) -> u8 {
        self.0[KIND]
    }

    pub(super) fn path(&self) -> Vec<u8> {
        let name = self.text(NAME);
        // GNU's magic has a space where ustar's has a NUL.
        let prefix = if self.field(MAGIC) == b"ustar\0" { self.text(PREFIX) } else { Vec::new() };
        if prefix.is_empty() { name } else { [&prefix[..], b"/", &name].concat() }
    }

    pub(super) fn link(&self) -> Vec<u8> {
        self.text(LINK)
    }

    pub(super) fn size(&self) -> Result<u64> {
        self.natural(SIZE, "size")
    }

    pub(super) fn uid(&self) -> Result<u64> {
        self.natural(UID, "owner")
    }

    pub(super) fn gid(&self) -> Result<u64> {
        self.natural(GID, "group")
    }

    pub(super) fn mode(&self) -> Result<u16> {
        let mode = self.natural(MODE, "mode")? & 0o7777;
        Ok(u16::try_from(mode).unwrap_or_default())
    }

    pub(super) fn mtime(&self) -> Result<i64> {
        let time = self.number(MTIME).context("time")?;
        i64::try_from(time).ok().with_context(|| format!("time {time}"))
    }

    /// Whether data follow.
    pub(super) fn has_data(&self) -> bool {
        !matches!(self.kind(), b'1'..=b'6')
    }

    pub(super) fn entry_kind(&self, path: &[u8]) -> Result<EntryKind> {
        let device = || -> Result<(u32, u32)> {
            let part = |range, what| {
                let number = self.natural(range, what)?;
                u32::try_from(number).ok().with_context(|| format!("device {what} {number}"))
            };
            Ok((part(MAJOR, "major")?, part(MINOR, "minor")?))
        };
        Ok(match self.kind() {
            // Before POSIX a slash made the directory.
            0 | b'0' if path.ends_with(b"/") => EntryKind::Directory,
            0 | b'0' | b'7' | b'S' => EntryKind::File,
            b'1' => EntryKind::HardLink,
            b'2' => EntryKind::Symlink,
            b'3' => device().map(|(major, minor)| EntryKind::CharacterDevice(major, minor))?,
            b'4' => device().map(|(major, minor)| EntryKind::BlockDevice(major, minor))?,
            // GNU's directory with a list of its files as data.
            b'5' | b'D' => EntryKind::Directory,
            b'6' => EntryKind::Fifo,
            other => bail!("entries of kind {:?} are not supported", char::from(other)),
        })
    }

    pub(super) fn sparse_segments(&self) -> Result<Vec<Segment>> {
        let mut segments = Vec::new();
        add_segments(self.field(SPARSE), &mut segments)?;
        Ok(segments)
    }

    pub(super) fn sparse_goes_on(&self) -> bool {
        self.0[SPARSE_GOES_ON] != 0
    }

    pub(super) fn sparse_size(&self) -> Result<u64> {
        self.natural(SPARSE_SIZE, "sparse size")
    }
}

/// Adds the pieces of a block of them; whether another such block follows.
pub(super) fn sparse_extension(block: &[u8; BLOCK], segments: &mut Vec<Segment>) -> Result<bool> {
    add_segments(&block[EXTENSION], segments)?;
    Ok(block[EXTENSION_GOES_ON] != 0)
}

fn add_segments(table: &[u8], segments: &mut Vec<Segment>) -> Result<()> {
    for pair in table.chunks_exact(2 * NUMBER) {
        let (offset, size) = pair.split_at(NUMBER);
        if size.first() == Some(&0) {
            break;
        }
        ensure!(segments.len() < MOST_SEGMENTS, "a sparse file of more than {MOST_SEGMENTS} pieces");
        let natural = |field| u64::try_from(number(field)?).context("a negative number in a sparse file");
        segments.push(Segment { offset: natural(offset)?, size: natural(size)? });
    }
    Ok(())
}

/// A number: octal digits, or, behind a set highest bit, a big-endian integer (GNU, star). None is zero.
fn number(field: &[u8]) -> Result<i128> {
    if let Some((first, rest)) = field.split_first().filter(|(first, _)| **first & 0x80 != 0) {
        let negative = first & 0x40 != 0;
        let head = i128::from(first & 0x3f) - if negative { 0x40 } else { 0 };
        // Twelve bytes at most: they fit.
        return Ok(rest.iter().fold(head, |value, byte| value << 8 | i128::from(*byte)));
    }
    let text = field.split(|byte| *byte == 0).next().unwrap_or_default().trim_ascii();
    let mut value = 0_i128;
    for byte in text {
        ensure!((b'0'..=b'7').contains(byte), "{:?} is not a number", String::from_utf8_lossy(text));
        value = value << 3 | i128::from(byte - b'0');
    }
    Ok(value)
}
