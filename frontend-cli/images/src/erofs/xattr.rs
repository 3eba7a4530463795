//! Extended attributes in EROFS: beside the inode, or, what several inodes have, once for all.

use std::collections::BTreeMap;

/// `struct erofs_xattr_ibody_header`: name filter (0), how many are shared, 7 reserved bytes.
const HEADER: u32 = 12;
/// `h_shared_count` has 8 bits.
const MOST_SHARED: usize = 255;

type Xattrs = BTreeMap<Vec<u8>, Vec<u8>>;

/// Whether EROFS can keep an attribute of this name: those of the kernel's handlers `user.`, `trusted.`, `security.`,
/// and access control lists.
pub fn is_kept(name: &[u8]) -> bool {
    split(name).is_some()
}

/// The index that stands for the prefix (`EROFS_XATTR_INDEX_*`), and the rest of the name.
fn split(name: &[u8]) -> Option<(u8, &[u8])> {
    match name {
        b"system.posix_acl_access" => return Some((2, b"")),
        b"system.posix_acl_default" => return Some((3, b"")),
        _ => {}
    }
    let prefixes: [(u8, &[u8]); 3] = [(1, b"user."), (4, b"trusted."), (6, b"security.")];
    prefixes
        .into_iter()
        .find_map(|(index, prefix)| Some((index, name.strip_prefix(prefix)?)))
        .filter(|(_, rest)| !rest.is_empty() && rest.len() <= usize::from(u8::MAX))
}

/// `struct erofs_xattr_entry`, name and value, up to a multiple of 4 bytes. Nothing for a name that is not kept.
fn entry(name: &[u8], value: &[u8]) -> Vec<u8> {
    let Some((index, rest)) = split(name) else { return Vec::new() };
    let (Ok(length), Ok(size)) = (u8::try_from(rest.len()), u16::try_from(value.len())) else {
        return Vec::new();
    };
    let mut bytes = vec![length, index];
    bytes.extend(size.to_le_bytes());
    bytes.extend(rest);
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// Attributes that several inodes have.
pub(super) struct Shared<'a> {
    /// Where each lies, in units of 4 bytes.
    places: BTreeMap<(&'a [u8], &'a [u8]), u32>,
    /// The area they lie in.
    pub(super) area: Vec<u8>,
}

impl<'a> Shared<'a> {
    /// Those that are in more than one of `all`.
    pub(super) fn new(all: impl Iterator<Item = &'a Xattrs>) -> Self {
        let mut places: BTreeMap<(&[u8], &[u8]), u32> = BTreeMap::new();
        for (name, value) in all.flatten().filter(|(name, _)| is_kept(name)) {
            let count = places.entry((name, value)).or_default();
            *count = count.saturating_add(1);
        }
        places.retain(|_, count| *count > 1);
        let mut area = Vec::new();
        places.retain(|(name, value), place| {
            // 2³² units are 16 GiB, which no tree holds; what did not fit would be kept beside its inodes.
            let Ok(at) = u32::try_from(area.len() / 4) else { return false };
            *place = at;
            area.extend(entry(name, value));
            true
        });
        Self { places, area }
    }

    /// What stands behind an inode with these attributes: nothing if it has none, else a multiple of 4 bytes.
    pub(super) fn body(&self, xattrs: &Xattrs) -> Vec<u8> {
        let (mut shared, mut own) = (Vec::new(), Vec::new());
        for (name, value) in xattrs {
            match self.places.get(&(name.as_slice(), value.as_slice())) {
                Some(place) if shared.len() < MOST_SHARED => shared.push(*place),
                _ => own.extend(entry(name, value)),
            }
        }
        if shared.is_empty() && own.is_empty() {
            return Vec::new();
        }
        let count = u8::try_from(shared.len()).unwrap_or(u8::MAX);
        let mut bytes = vec![0, 0, 0, 0, count, 0, 0, 0, 0, 0, 0, 0];
        bytes.extend(shared.iter().flat_map(|place| place.to_le_bytes()));
        bytes.extend(own);
        bytes
    }
}

/// `i_xattr_icount` of a body: its units of 4 bytes, the header counting as one. `None` if they are too many.
pub(super) fn count(bytes: u32) -> Option<u16> {
    match bytes.checked_sub(HEADER) {
        Some(rest) => u16::try_from(rest / 4 + 1).ok(),
        None => Some(0),
    }
}
