//! An ELF kernel: Linux's vmlinux by its 64-bit entry, others by PVH.

use super::{
    super::field,
    BootError, KERNEL_FLOOR, Kernel, PayloadFile, Protocol, Start,
    elf::{self, Elf, Note, Segment},
    linux,
};

/// Owner and types of Xen's notes (xen/include/public/elfnote.h).
const XEN: &[u8] = b"Xen";
const XEN_GUEST_OS: u32 = 6;
const XEN_PHYS32_ENTRY: u32 = 18;
/// Owner of the notes of Linux itself (include/linux/elfnote.h).
const LINUX: &[u8] = b"Linux";
/// `COMMAND_LINE_SIZE` less the terminating zero.
const COMMAND_LINE_LIMIT: usize = 2047;
/// What every bzImage says; an ELF kernel has no field for it.
const INITRD_LIMIT: u64 = 1 << 31;

/// Checks the ELF kernel `file`.
pub(super) fn inspect(file: &PayloadFile, protocol: Option<Protocol>) -> Result<Kernel, BootError> {
    let elf = Elf::read(file, elf::X86_64)?;
    let end = check_segments(&elf.segments).map_err(|reason| file.error(reason))?;
    let start = start(&elf, protocol).map_err(|reason| file.error(reason))?;
    Ok(Kernel {
        segments: elf.segments,
        end,
        start,
        command_line_limit: COMMAND_LINE_LIMIT,
        initrd_limit: INITRD_LIMIT,
    })
}

/// The first address after all `segments`, if they leave low memory and one another alone.
fn check_segments(segments: &[Segment]) -> Result<u64, String> {
    let mut sorted: Vec<_> =
        segments.iter().map(|s| (s.address, s.address.saturating_add(s.memory_size))).collect();
    sorted.sort_unstable();
    let mut free_from = KERNEL_FLOOR;
    for (start, end) in sorted {
        if start < KERNEL_FLOOR {
            return Err(format!(
                "has a segment at {start:#x}, below 1 MiB: it is no kernel for this machine"
            ));
        }
        if start < free_from {
            return Err(format!("has overlapping segments at {start:#x}: fetch or build it again"));
        }
        free_from = end;
    }
    if free_from == KERNEL_FLOOR {
        return Err("is an ELF file with nothing to load: give a bzImage or vmlinux".to_owned());
    }
    Ok(free_from)
}

/// Chooses the entry.
fn start(elf: &Elf, protocol: Option<Protocol>) -> Result<Start, String> {
    let loaded = |entry: u64| {
        elf.segments.iter().any(|segment| {
            entry.checked_sub(segment.address).is_some_and(|offset| offset < segment.file_size)
        })
    };
    let linux = loaded(elf.entry).then_some(elf.entry);
    let pvh = pvh_entry(&elf.notes).filter(|entry| loaded(u64::from(*entry)));
    let linux = linux.filter(|_| protocol != Some(Protocol::Pvh));
    let pvh = pvh.filter(|_| protocol != Some(Protocol::Linux64));
    match (linux, pvh) {
        (Some(entry), pvh) if pvh.is_none() || is_linux(&elf.notes) => {
            Ok(Start::Linux64 { entry, setup_header: linux::setup_header_of_elf() })
        }
        (_, Some(entry)) => Ok(Start::Pvh { entry }),
        _ => {
            let wanted = match protocol {
                Some(Protocol::Linux64) => "64-bit ",
                Some(Protocol::Pvh) => "PVH ",
                None => "",
            };
            Err(format!("has no {wanted}entry inside its segments: give a bzImage or vmlinux"))
        }
    }
}

/// Whether the kernel says that it is Linux.
fn is_linux(notes: &[Note]) -> bool {
    notes.iter().any(|note| {
        note.owner == LINUX
            || (note.owner == XEN && note.kind == XEN_GUEST_OS && note.description.starts_with(b"linux"))
    })
}

/// The 32-bit entry that the PVH note names; 4 or 8 bytes of description.
fn pvh_entry(notes: &[Note]) -> Option<u32> {
    let note = notes.iter().find(|note| note.owner == XEN && note.kind == XEN_PHYS32_ENTRY)?;
    match note.description.len() {
        4 => field::u32(&note.description, 0),
        _ => field::u64(&note.description, 0).and_then(|entry| u32::try_from(entry).ok()),
    }
}
