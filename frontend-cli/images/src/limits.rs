//! How much an image may ask for.

/// What an image may make of its sources, so that a small hostile one cannot fill a disk or the memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one unpacked layer's archive.
    pub layer_bytes: u64,
    /// Bytes of all unpacked layers' archives together.
    pub image_bytes: u64,
    /// Entries of all layers together: files, links, whiteouts.
    pub entries: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { layer_bytes: 64 << 30, image_bytes: 128 << 30, entries: 8 << 20 }
    }
}

/// Bytes in a path, as `PATH_MAX` of Linux.
pub const MOST_PATH: usize = 4096;
/// Bytes in one pax header. Linux lets a file have 64 KiB of names of attributes and 64 KiB in each value.
pub const MOST_PAX: u64 = 1 << 20;
/// Bytes in the value of an extended attribute, as `XATTR_SIZE_MAX` of Linux.
pub const MOST_ATTRIBUTE: usize = 64 << 10;
/// Pieces of data in a sparse file.
pub const MOST_SEGMENTS: usize = 1 << 20;
/// Headers (pax, long names) before one entry.
pub(crate) const MOST_HEADERS: usize = 16;
