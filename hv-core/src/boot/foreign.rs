//! What a file is that is no kernel for this machine, and what to do about it.

/// Marks by which files are known: where, which bytes, what to tell.
const MARKS: &[(usize, &[u8], &str)] = &[
    (0x38, b"ARM\x64", "is an arm64 kernel and this machine is x86_64: give an x86_64 bzImage or vmlinux"),
    (0x38, b"RSC\x05", "is a RISC-V kernel and this machine is x86_64: give an x86_64 bzImage or vmlinux"),
    (4, b"zimg", "is a packed EFI kernel of another architecture: give an x86_64 bzImage or vmlinux"),
    (0, b"MZ", "is an EFI program and no kernel: give a bzImage (vmlinuz) or vmlinux"),
    (0, b"\x1f\x8b", "is packed by gzip: unpack it by `zcat` and give the result"),
    (0, b"\x28\xb5\x2f\xfd", "is packed by zstd: unpack it by `zstdcat` and give the result"),
    (0, b"\xfd7zXZ\0", "is packed by xz: unpack it by `xzcat` and give the result"),
    (0, b"BZh", "is packed by bzip2: unpack it by `bzcat` and give the result"),
    (0, b"\x02\x21\x4c\x18", "is packed by lz4: unpack it by `lz4cat` and give the result"),
    (0, b"\x04\x22\x4d\x18", "is packed by lz4: unpack it by `lz4cat` and give the result"),
    (0, b"\x89LZO", "is packed by lzop: unpack it by `lzop -dc` and give the result"),
    (0, b"07070", "is a cpio archive: give it by --initrd, and a bzImage or vmlinux by --kernel"),
    (0, b"QFI\xfb", "is a qcow2 disk image: give it by --disk, and a bzImage or vmlinux by --kernel"),
    (0, b"!<arch>\n", "is an archive (a Debian package?): unpack it and give the vmlinuz inside"),
    (0, b"#!", "is a script and no kernel: give a bzImage (vmlinuz) or vmlinux"),
];

/// Why the file that begins with `head` cannot be started, with the cure.
pub(super) fn describe(head: &[u8]) -> &'static str {
    MARKS
        .iter()
        .find(|(offset, mark, _)| head.get(*offset..).is_some_and(|bytes| bytes.starts_with(mark)))
        .map_or("is no kernel that is known here: give a bzImage (vmlinuz) or an ELF vmlinux", |mark| mark.2)
}
