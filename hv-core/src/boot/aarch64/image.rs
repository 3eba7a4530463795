//! The arm64 Image: its 64-byte header, and the length that its PE sections tell.

use super::super::field;

// Offsets in the header (Documentation/arch/arm64/booting.rst).
const TEXT_OFFSET: usize = 8;
const IMAGE_SIZE: usize = 16;
const FLAGS: usize = 24;
const MAGIC: usize = 0x38;
const HEADER_SIZE: u64 = 64;

const BIG_ENDIAN: u64 = 1;

// Of the PE header, which kernels with an EFI stub have (Microsoft, PE Format).
const PE_OFFSET: usize = 0x3c;
const PE_MARK: &[u8] = b"PE\0\0";
const PE_SECTIONS: usize = 6;
const PE_OPTIONAL_SIZE: usize = 20;
const PE_OPTIONAL: usize = 24;
const SECTION_SIZE: usize = 40;
const SECTION_RAW_SIZE: usize = 16;
const SECTION_RAW_OFFSET: usize = 20;

/// What an Image says of itself. Its page size is the kernel's affair: a core without it stops the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Image {
    /// Where it begins, from a multiple of 2 MiB.
    pub(super) text_offset: u64,
    /// Bytes that it takes in memory; not 0.
    pub(super) size: u64,
}

impl Image {
    /// Whether a file that begins with `head` is an Image.
    pub(super) fn is_one(head: &[u8]) -> bool {
        head.get(MAGIC..).is_some_and(|bytes| bytes.starts_with(b"ARM\x64"))
    }

    /// Reads the header; `in_file` is the length of a file that is not packed.
    pub(super) fn read(head: &[u8], in_file: Option<u64>) -> Result<Self, String> {
        let truncated = || "is a truncated arm64 Image: fetch or build it again".to_owned();
        let word = |offset| field::u64(head, offset).ok_or_else(truncated);
        let image = Self { text_offset: word(TEXT_OFFSET)?, size: word(IMAGE_SIZE)? };
        let flags = word(FLAGS)?;
        if (head.len() as u64) < HEADER_SIZE {
            return Err(truncated());
        }
        if image.size == 0 {
            return Err("is an arm64 kernel older than 3.17: give a newer one".to_owned());
        }
        if flags & BIG_ENDIAN != 0 {
            return Err("is a big-endian arm64 kernel: give a little-endian one".to_owned());
        }
        if image.size < HEADER_SIZE {
            return Err(
                "is a damaged arm64 Image: its header makes no sense; fetch or build it again".to_owned()
            );
        }
        if in_file.is_some_and(|size| size < needed(head).unwrap_or(0).min(image.size)) {
            return Err(truncated());
        }
        Ok(image)
    }
}

/// Up to where the sections of its PE header reach in the file, if it has them.
fn needed(head: &[u8]) -> Option<u64> {
    let pe = head.get(usize::try_from(field::u32(head, PE_OFFSET)?).ok()?..)?;
    if !pe.starts_with(PE_MARK) {
        return None;
    }
    let sections = usize::from(field::u16(pe, PE_SECTIONS)?);
    let table = pe.get(PE_OPTIONAL + usize::from(field::u16(pe, PE_OPTIONAL_SIZE)?)..)?;
    let end = |section: &[u8]| {
        let (offset, size) =
            (field::u32(section, SECTION_RAW_OFFSET)?, field::u32(section, SECTION_RAW_SIZE)?);
        Some(u64::from(offset) + u64::from(size))
    };
    table.chunks_exact(SECTION_SIZE).take(sections).filter_map(end).max()
}
