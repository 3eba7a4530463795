//! What a file is that is no kernel for this machine, and what to do about it.

use super::{PayloadFile, unpack};

/// What a machine starts from, in messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wanted {
    architecture: &'static str,
    kernel: &'static str,
}

/// Kernels of x86_64 machines.
pub(super) const X86_64: Wanted =
    Wanted { architecture: "x86_64", kernel: "an x86_64 bzImage (vmlinuz) or ELF vmlinux" };
/// Kernels of arm64 machines.
pub(super) const ARM64: Wanted = Wanted {
    architecture: "arm64",
    kernel: "an arm64 Image (vmlinuz), plain or packed by gzip, zstd or as EFI zboot",
};

/// Marks by which Linux kernels are known: where, which bytes, whose.
const KERNELS: &[(usize, &[u8], &str)] =
    &[(0x38, b"ARM\x64", "arm64"), (0x38, b"RSC\x05", "RISC-V"), (0x202, b"HdrS", "x86_64")];

/// Marks by which other files are known: where, which bytes, what they are, what to do if not just to give a kernel.
const OTHERS: &[(usize, &[u8], &str, Option<&str>)] = &[
    (4, b"zimg", "is a packed EFI kernel of another architecture", None),
    (0, b"MZ", "is an EFI program and no kernel", None),
    (0, b"\x1f\x8b", "is packed by gzip", Some("unpack it by `zcat` and give the result")),
    (0, b"\x28\xb5\x2f\xfd", "is packed by zstd", Some("unpack it by `zstdcat` and give the result")),
    (0, b"\xfd7zXZ\0", "is packed by xz", Some("unpack it by `xzcat` and give the result")),
    (0, b"BZh", "is packed by bzip2", Some("unpack it by `bzcat` and give the result")),
    (0, b"\x02\x21\x4c\x18", "is packed by lz4", Some("unpack it by `lz4cat` and give the result")),
    (0, b"\x04\x22\x4d\x18", "is packed by lz4", Some("unpack it by `lz4cat` and give the result")),
    (0, b"\x89LZO", "is packed by lzop", Some("unpack it by `lzop -dc` and give the result")),
    (0, b"07070", "is a cpio archive", Some("give it by --initrd, and a kernel by --kernel")),
    (0, b"QFI\xfb", "is a qcow2 disk image", Some("give it by --disk, and a kernel by --kernel")),
    (0, b"!<arch>\n", "is an archive (a Debian package?)", Some("unpack it and give the vmlinuz inside")),
    (0, b"#!", "is a script and no kernel", None),
];

/// Why `file`, which begins with `head`, cannot be started, with the cure; looks into it if it is packed.
pub(super) fn explain(file: &PayloadFile, head: &[u8], wanted: Wanted) -> String {
    let packed = unpack::find(head).ok().flatten();
    let inner = packed.and_then(|packed| unpack::head(file, &packed).ok());
    match inner.as_deref().and_then(architecture) {
        Some(architecture) if architecture != wanted.architecture => other(architecture, wanted),
        _ => describe(head, wanted),
    }
}

/// Why what begins with `head` cannot be started, with the cure.
pub(super) fn describe(head: &[u8], wanted: Wanted) -> String {
    if let Some(architecture) = architecture(head).filter(|found| *found != wanted.architecture) {
        return other(architecture, wanted);
    }
    let found = OTHERS.iter().find(|(offset, mark, ..)| is_at(head, *offset, mark));
    match found {
        Some((.., what, Some(cure))) => format!("{what}: {cure}"),
        Some((.., what, None)) => format!("{what}: give {}", wanted.kernel),
        None => format!("is no kernel that is known here: give {}", wanted.kernel),
    }
}

fn other(architecture: &str, wanted: Wanted) -> String {
    let article = if architecture.starts_with('R') { "a" } else { "an" };
    format!(
        "is {article} {architecture} kernel and this machine is {}: give {}",
        wanted.architecture, wanted.kernel
    )
}

/// For which architecture the Linux kernel is that begins with `head`.
fn architecture(head: &[u8]) -> Option<&'static str> {
    KERNELS.iter().find(|(offset, mark, _)| is_at(head, *offset, mark)).map(|found| found.2)
}

fn is_at(head: &[u8], offset: usize, mark: &[u8]) -> bool {
    head.get(offset..).is_some_and(|bytes| bytes.starts_with(mark))
}
