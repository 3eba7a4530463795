//! Reads what a loader needs of a 64-bit little-endian ELF file (System V gABI, chapters 4 and 5).

use super::{BootError, PayloadFile, field};

/// `\x7fELF`.
pub(super) const MAGIC: &[u8] = b"\x7fELF";
const HEADER_SIZE: usize = 64;
const SEGMENT_SIZE: u16 = 56;
const SECTION_SIZE: u16 = 64;
const CLASS_64: u8 = 2;
const LITTLE_ENDIAN: u8 = 1;
const TYPE_EXECUTABLE: u16 = 2;
const LOAD: u32 = 1;
const NOTE: u32 = 4;
/// Kernels have fewer than ten.
const MOST_SEGMENTS: u16 = 64;
/// Kernels have some 200 bytes of notes and some 2 KiB of section names.
const MOST_NOTES: u64 = 64 << 10;
const MOST_NAMES: u64 = 64 << 10;

/// `e_machine` of x86_64.
pub(super) const X86_64: u16 = 62;

/// A statically linked ELF program.
#[derive(Debug)]
pub(super) struct Elf {
    /// `e_entry`.
    pub(super) entry: u64,
    /// The `PT_LOAD` segments that take memory, in the file's order; their bytes are in the file.
    pub(super) segments: Vec<Segment>,
    /// The notes of all `PT_NOTE` segments.
    pub(super) notes: Vec<Note>,
    sections: Table,
    section_names: u16,
}

/// A `PT_LOAD` segment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Segment {
    /// `p_offset`.
    pub(super) offset: u64,
    /// `p_paddr`.
    pub(super) address: u64,
    /// `p_filesz`, at most `memory_size`.
    pub(super) file_size: u64,
    /// `p_memsz`; no overflow with `address`.
    pub(super) memory_size: u64,
}

/// An ELF note.
#[derive(Debug)]
pub(super) struct Note {
    /// The owner, without its terminating zero.
    pub(super) owner: Vec<u8>,
    /// The type, in the owner's numbering.
    pub(super) kind: u32,
    /// The description.
    pub(super) description: Vec<u8>,
}

#[derive(Debug, Clone, Copy)]
struct Table {
    offset: u64,
    count: u16,
}

impl Elf {
    /// Reads the headers and notes of `file`.
    pub(super) fn read(file: &PayloadFile, machine: u16) -> Result<Self, BootError> {
        let size = file.size()?;
        let header = file.read(0, HEADER_SIZE)?;
        let truncated = || file.error("is a truncated ELF file: fetch or build it again");
        if header.len() < HEADER_SIZE {
            return Err(truncated());
        }
        check_header(&header, machine).map_err(|reason| file.error(reason))?;
        let half = |offset| field::u16(&header, offset).ok_or_else(truncated);
        let word = |offset| field::u64(&header, offset).ok_or_else(truncated);
        let programs = Table { offset: word(0x20)?, count: half(0x38)? };
        if half(0x36)? != SEGMENT_SIZE || programs.count == 0 || programs.count > MOST_SEGMENTS {
            return Err(file.error("is a damaged ELF file or no kernel: its program headers make no sense"));
        }
        let sections = if half(0x3a)? == SECTION_SIZE { half(0x3c)? } else { 0 };
        let mut elf = Self {
            entry: word(0x18)?,
            segments: Vec::new(),
            notes: Vec::new(),
            sections: Table { offset: word(0x28)?, count: sections },
            section_names: half(0x3e)?,
        };
        let table = file.read(programs.offset, usize::from(programs.count) * usize::from(SEGMENT_SIZE))?;
        for index in 0..usize::from(programs.count) {
            let header = table.get(index * usize::from(SEGMENT_SIZE)..).unwrap_or_default();
            elf.add_segment(file, size, header)?;
        }
        Ok(elf)
    }

    fn add_segment(&mut self, file: &PayloadFile, size: u64, header: &[u8]) -> Result<(), BootError> {
        let truncated = || file.error("is a truncated ELF file: fetch or build it again");
        let word = |offset| field::u64(header, offset).ok_or_else(truncated);
        let kind = field::u32(header, 0).ok_or_else(truncated)?;
        let segment = Segment {
            offset: word(0x08)?,
            address: word(0x18)?,
            file_size: word(0x20)?,
            memory_size: word(0x28)?,
        };
        if (kind != LOAD || segment.memory_size == 0) && kind != NOTE {
            return Ok(());
        }
        if segment.offset.checked_add(segment.file_size).is_none_or(|end| end > size) {
            return Err(truncated());
        }
        if kind == NOTE {
            let most = usize::try_from(segment.file_size.min(MOST_NOTES)).unwrap_or(0);
            self.notes.extend(notes(&file.read(segment.offset, most)?));
            return Ok(());
        }
        let wraps = segment.address.checked_add(segment.memory_size).is_none();
        if wraps || segment.file_size > segment.memory_size {
            let address = segment.address;
            return Err(
                file.error(format!("is a damaged ELF file: its segment at {address:#x} has no such size"))
            );
        }
        self.segments.push(segment);
        Ok(())
    }

    /// Where in `file` the section called `name` lies: its offset and size in bytes. `None` where section headers
    /// are stripped or damaged.
    pub(super) fn section(&self, file: &PayloadFile, name: &str) -> Option<(u64, u64)> {
        let size = usize::from(SECTION_SIZE);
        let table = file.read(self.sections.offset, usize::from(self.sections.count) * size).ok()?;
        let place = |header: &[u8]| Some((field::u64(header, 0x18)?, field::u64(header, 0x20)?));
        let (offset, names_size) = place(table.get(usize::from(self.section_names) * size..)?)?;
        let names = file.read(offset, usize::try_from(names_size.min(MOST_NAMES)).ok()?).ok()?;
        let is_called = |header: &[u8]| {
            let start = field::u32(header, 0).and_then(|start| usize::try_from(start).ok())?;
            let rest = names.get(start..)?.strip_prefix(name.as_bytes())?;
            (rest.first() == Some(&0)).then(|| place(header))?
        };
        table.chunks_exact(size).find_map(is_called)
    }
}

/// The notes in a `PT_NOTE` segment's bytes, each part padded to 4 bytes; ends where they make no sense.
fn notes(mut bytes: &[u8]) -> Vec<Note> {
    fn take<'a>(bytes: &mut &'a [u8], size: usize) -> Option<&'a [u8]> {
        let part = bytes.get(..size)?;
        *bytes = bytes.get(size.checked_next_multiple_of(4)?..).unwrap_or_default();
        Some(part)
    }
    let mut next = || {
        let header = take(&mut bytes, 12)?;
        let size = |offset| field::u32(header, offset).and_then(|size| usize::try_from(size).ok());
        let owner = take(&mut bytes, size(0)?)?;
        let description = take(&mut bytes, size(4)?)?;
        let owner = owner.strip_suffix(b"\0").unwrap_or(owner).to_vec();
        Some(Note { owner, kind: field::u32(header, 8)?, description: description.to_vec() })
    };
    std::iter::from_fn(&mut next).collect()
}

/// Whether this is a program of 64 bits, little-endian, for `machine`; `header` has [`HEADER_SIZE`] bytes.
fn check_header(header: &[u8], machine: u16) -> Result<(), String> {
    let class = (header.get(4), header.get(5));
    let (kind, for_machine) = (field::u16(header, 0x10), field::u16(header, 0x12));
    if class != (Some(&CLASS_64), Some(&LITTLE_ENDIAN)) || for_machine != Some(machine) {
        return Err(format!(
            "is an ELF file for {}: give a kernel for this machine's architecture",
            architecture(header)
        ));
    }
    match kind {
        Some(TYPE_EXECUTABLE) => Ok(()),
        Some(1) => {
            Err("is an ELF object or kernel module and no kernel: give a bzImage or vmlinux".to_owned())
        }
        Some(3) => Err("is a program or library and no kernel: give a bzImage or vmlinux".to_owned()),
        Some(4) => Err("is a core dump and no kernel: give a bzImage or vmlinux".to_owned()),
        _ => Err("is an ELF file of unknown type and no kernel: give a bzImage or vmlinux".to_owned()),
    }
}

/// The architecture that the ELF file is for that begins with `header`.
pub(super) fn architecture(header: &[u8]) -> &'static str {
    match field::u16(header, 0x12) {
        Some(3) => "32-bit x86",
        Some(8) | Some(0x0800) => "MIPS",
        Some(20) | Some(21) => "PowerPC",
        Some(22) => "s390",
        Some(40) => "32-bit Arm",
        Some(62) => "x86_64",
        Some(183) => "arm64",
        Some(243) => "RISC-V",
        _ => "another architecture",
    }
}
