//! Extended headers of the pax format (POSIX.1-2024, pax, "pax Extended Header"), with GNU's and star's records.

use anyhow::{Context, Result, ensure};

use super::sparse::{self, Segment};
use crate::{
    limits::{MOST_ATTRIBUTE, MOST_SEGMENTS},
    tree::{MOST_NAME, MOST_XATTRS},
};

/// An extended attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attribute {
    /// Its name, with the namespace.
    pub name: Vec<u8>,
    /// Its value.
    pub value: Vec<u8>,
}

/// What the records of a header say of the next entry.
#[derive(Debug, Default)]
pub(super) struct Pax {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u64>,
    pub(super) gid: Option<u64>,
    pub(super) mtime: Option<(i64, u32)>,
    pub(super) attributes: Vec<Attribute>,
    pub(super) sparse_name: Option<Vec<u8>>,
    pub(super) sparse_size: Option<u64>,
    pub(super) sparse_major: Option<u64>,
    pub(super) segments: Vec<Segment>,
    /// Bytes of the attributes.
    weight: usize,
    /// Of a piece whose size is still to come.
    offset: Option<u64>,
}

const ATTRIBUTE: &[u8] = b"SCHILY.xattr.";

impl Pax {
    /// Reads the records `LENGTH KEY=VALUE\n`.
    pub(super) fn parse(mut bytes: &[u8]) -> Result<Self> {
        let mut pax = Self::default();
        // Some writers fill up with NULs.
        while bytes.first().is_some_and(|byte| *byte != 0) {
            let (record, rest) = split(bytes).context("a damaged pax header")?;
            let equals = record.iter().position(|byte| *byte == b'=').context("a pax record without =")?;
            let (key, value) = (&record[..equals], &record[equals + 1..]);
            pax.add(key, value)
                .with_context(|| format!("pax record {}", String::from_utf8_lossy(&key[..key.len().min(80)])))?;
            bytes = rest;
        }
        Ok(pax)
    }

    fn add(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        if let Some(name) = key.strip_prefix(ATTRIBUTE) {
            return self.add_attribute(name, value);
        }
        match key {
            b"GNU.sparse.map" => return self.add_map(value),
            b"GNU.sparse.offset" => {
                self.offset = Some(natural(value)?);
                return Ok(());
            }
            b"GNU.sparse.numbytes" => {
                let offset = self.offset.take().context("without an offset before it")?;
                return self.add_segment(Segment { offset, size: natural(value)? });
            }
            _ => {}
        }
        // An empty value takes back what was said before.
        let text = || (!value.is_empty()).then(|| value.to_vec());
        let number = || if value.is_empty() { Ok(None) } else { natural(value).map(Some) };
        match key {
            b"path" => self.path = text(),
            b"linkpath" => self.link = text(),
            b"size" => self.size = number()?,
            b"uid" => self.uid = number()?,
            b"gid" => self.gid = number()?,
            b"mtime" => self.mtime = if value.is_empty() { None } else { Some(time(value)?) },
            b"GNU.sparse.name" => self.sparse_name = text(),
            b"GNU.sparse.size" | b"GNU.sparse.realsize" => self.sparse_size = number()?,
            b"GNU.sparse.major" => self.sparse_major = number()?,
            _ => {}
        }
        Ok(())
    }

    fn add_attribute(&mut self, name: &[u8], value: &[u8]) -> Result<()> {
        ensure!(!name.is_empty() && name.len() <= MOST_NAME, "an attribute's name of {} bytes", name.len());
        ensure!(value.len() <= MOST_ATTRIBUTE, "an attribute of {} bytes: {MOST_ATTRIBUTE} are the most", value.len());
        // Each counts for more than its bytes: it has an allocation.
        self.weight += name.len() + value.len() + 16;
        ensure!(self.weight <= MOST_XATTRS, "more than {MOST_XATTRS} bytes of attributes");
        self.attributes.push(Attribute { name: name.to_vec(), value: value.to_vec() });
        Ok(())
    }

    fn add_map(&mut self, value: &[u8]) -> Result<()> {
        let mut numbers = value.split(|byte| *byte == b',');
        while let Some(offset) = numbers.next() {
            let size = numbers.next().context("an odd number of numbers")?;
            self.add_segment(Segment { offset: natural(offset)?, size: natural(size)? })?;
        }
        Ok(())
    }

    fn add_segment(&mut self, segment: Segment) -> Result<()> {
        ensure!(self.segments.len() < MOST_SEGMENTS, "a sparse file of more than {MOST_SEGMENTS} pieces");
        self.segments.push(segment);
        Ok(())
    }
}

/// The first record without its length and line end, and what follows it.
fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let space = bytes.iter().take(20).position(|byte| *byte == b' ')?;
    let length = usize::try_from(natural(&bytes[..space]).ok()?).ok()?;
    let record = bytes.get(space + 1..length)?;
    let (end, record) = record.split_last()?;
    (*end == b'\n').then(|| Some((record, bytes.get(length..)?)))?
}

fn natural(digits: &[u8]) -> Result<u64> {
    sparse::natural(digits).with_context(|| format!("{:?} is not a number", String::from_utf8_lossy(digits)))
}

/// Seconds since 1970 with a fraction, to nanoseconds, as seconds and what is to be added to them.
fn time(value: &[u8]) -> Result<(i64, u32)> {
    let wrong = || format!("{:?} is not a time", String::from_utf8_lossy(&value[..value.len().min(80)]));
    let (negative, digits) = value.strip_prefix(b"-").map_or((false, value), |digits| (true, digits));
    let mut parts = digits.splitn(2, |byte| *byte == b'.');
    let seconds = sparse::natural(parts.next().unwrap_or_default()).with_context(wrong)?;
    let seconds = i64::try_from(seconds).with_context(wrong)?;
    let fraction = parts.next().unwrap_or_default();
    ensure!(fraction.iter().all(u8::is_ascii_digit), wrong());
    let digits = fraction.iter().copied().chain(std::iter::repeat(b'0')).take(9);
    let nanos = digits.fold(0_u32, |nanos, digit| nanos * 10 + u32::from(digit - b'0'));
    Ok(match (negative, nanos) {
        (false, nanos) => (seconds, nanos),
        (true, 0) => (-seconds, 0),
        (true, nanos) => (-seconds - 1, 1_000_000_000 - nanos),
    })
}
