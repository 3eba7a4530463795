//! Small kernels, modules and packages for tests, whole as real ones are.

use std::{
    fs,
    io::{Read, Write},
    path::{Path, PathBuf},
};

use flate2::{Compression, write::GzEncoder};
use lzma_rust2::{XzOptions, XzWriter};

use crate::{Architecture, Feature};

pub(crate) const RELEASE: &str = "6.1.0-7-amd64";

/// A file of a package: its path, and its content.
pub(crate) type Entry = (String, Vec<u8>);

fn put(to: &mut [u8], at: usize, bytes: &[u8]) {
    to[at..at + bytes.len()].copy_from_slice(bytes);
}

/// A module: an ELF file with a `.modinfo` section that says `info`.
pub(crate) fn module(machine: u16, info: &[&str]) -> Vec<u8> {
    let text = info.iter().flat_map(|entry| [entry.as_bytes(), b"\0"].concat()).collect::<Vec<u8>>();
    let names = b"\0.modinfo\0.shstrtab\0";
    let mut elf = vec![0; 64];
    put(&mut elf, 0, b"\x7fELF\x02\x01\x01");
    put(&mut elf, 16, &[1, 0]);
    put(&mut elf, 18, &machine.to_le_bytes());
    let headers = 64 + text.len() + names.len();
    put(&mut elf, 40, &(headers as u64).to_le_bytes());
    put(&mut elf, 58, &[64, 0, 3, 0, 2, 0]);
    elf.extend(&text);
    elf.extend(names);
    let section = |name: u8, offset: usize, size: usize| {
        let mut header = vec![0; 64];
        put(&mut header, 0, &[name]);
        put(&mut header, 24, &(offset as u64).to_le_bytes());
        put(&mut header, 32, &(size as u64).to_le_bytes());
        header
    };
    elf.extend([0; 64]);
    elf.extend(section(1, 64, text.len()));
    elf.extend(section(10, 64 + text.len(), names.len()));
    elf
}

/// An x86_64 module of [`RELEASE`] that depends on others.
pub(crate) fn depending(on: &str) -> Vec<u8> {
    module(62, &["license=GPL", &format!("depends={on}"), &format!("vermagic={RELEASE} SMP")])
}

/// A bzImage whose header says `release`.
pub(crate) fn bzimage(release: &str) -> Vec<u8> {
    let mut image = vec![0; 2048];
    put(&mut image, 0, b"MZ");
    put(&mut image, 0x1fe, b"\x55\xaa\xeb\x6aHdrS\x0f\x02");
    put(&mut image, 0x20e, &0x300_u16.to_le_bytes());
    put(&mut image, 0x236, &[1, 0]);
    put(&mut image, 0x500, format!("{release} (builder@host) #1\0").as_bytes());
    image
}

/// An arm64 Image.
pub(crate) fn arm64_image() -> Vec<u8> {
    let mut image = vec![0; 4096];
    put(&mut image, 0, b"MZ");
    put(&mut image, 0x38, b"ARM\x64");
    image
}

/// Options that every guest needs built in, and all features as modules but those that are `built_in`.
pub(crate) fn config(built_in: &[&str], without: &[&str]) -> Vec<u8> {
    let mut text = String::from("#\n# Linux/x86 6.1 Kernel Configuration\n#\n");
    for option in ["BLK_DEV_INITRD", "DEVTMPFS", "TMPFS", "UNIX"].map(|name| format!("CONFIG_{name}")) {
        if without.contains(&option.as_str()) {
            text += &format!("# {option} is not set\n");
        } else {
            text += &format!("{option}=y\n");
        }
    }
    for part in parts() {
        let value = if built_in.contains(&part.0) { "y" } else { "m" };
        if !without.contains(&part.0) {
            text += &format!("{}={value}\n", part.0);
        }
    }
    text.into_bytes()
}

/// The option and module of each part of each feature on x86_64.
pub(crate) fn parts() -> Vec<(&'static str, &'static str)> {
    let parts = Feature::ALL.into_iter().flat_map(|feature| feature.parts(Architecture::X86_64));
    parts.map(|part| (part.option, part.module)).collect()
}

/// The files of a Debian package of a kernel that has each feature as a module; virtio drivers depend on `virtio_ring`
/// and that on `virtio`, ext4 softly on an alias that two modules have.
pub(crate) fn kernel_files() -> Vec<Entry> {
    let below = format!("./lib/modules/{RELEASE}");
    let mut files = vec![
        (format!("./boot/vmlinuz-{RELEASE}"), bzimage(RELEASE)),
        (format!("./boot/config-{RELEASE}"), config(&[], &[])),
        (format!("./boot/System.map-{RELEASE}"), vec![b'x'; 100]),
        (format!("{below}/modules.builtin"), b"kernel/fs/binfmt_elf.ko\n".to_vec()),
        (format!("{below}/kernel/drivers/virtio/virtio.ko"), depending("")),
        (format!("{below}/kernel/drivers/virtio/virtio-ring.ko"), depending("virtio")),
        (format!("{below}/kernel/crypto/crc32c_generic.ko"), crypto("crypto-crc32c")),
        (format!("{below}/kernel/arch/x86/crypto/crc32c-intel.ko"), crypto("crypto-crc32c")),
        (format!("{below}/kernel/sound/soundcore.ko"), depending("")),
    ];
    for (_, name) in parts() {
        let content = match name {
            "ext4" => module(
                62,
                &["softdep=pre: crypto-crc32c nothing", "depends=", &format!("vermagic={RELEASE} SMP")],
            ),
            name if name.starts_with("virtio") => depending("virtio-ring"),
            _ => depending(""),
        };
        files.push((format!("{below}/kernel/x/{name}.ko"), content));
    }
    files
}

fn crypto(alias: &str) -> Vec<u8> {
    module(62, &[&format!("alias={alias}"), "depends=", &format!("vermagic={RELEASE} SMP")])
}

pub(crate) fn xz(bytes: &[u8]) -> Vec<u8> {
    let mut writer = XzWriter::new(Vec::new(), XzOptions::with_preset(1)).unwrap();
    writer.write_all(bytes).unwrap();
    writer.finish().unwrap()
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut writer = GzEncoder::new(Vec::new(), Compression::fast());
    writer.write_all(bytes).unwrap();
    writer.finish().unwrap()
}

pub(crate) fn zstd(bytes: &[u8]) -> Vec<u8> {
    ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
}

pub(crate) fn ar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = b"!<arch>\n".to_vec();
    for (name, content) in members {
        writeln!(archive, "{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`", 0, 0, 0, "100644", content.len())
            .unwrap();
        archive.extend(*content);
        archive.extend(vec![b'\n'; content.len() % 2]);
    }
    archive
}

pub(crate) fn tar(files: &[Entry]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, path, content.as_slice()).unwrap();
    }
    builder.into_inner().unwrap()
}

pub(crate) fn deb(files: &[Entry]) -> Vec<u8> {
    ar(&[("debian-binary", b"2.0\n"), ("control.tar.xz", b"-"), ("data.tar.xz", &xz(&tar(files)))])
}

pub(crate) fn cpio(files: &[Entry]) -> Vec<u8> {
    let trailer = (String::from("TRAILER!!!"), Vec::new());
    let mut archive = Vec::new();
    for (path, content) in files.iter().chain([&trailer]) {
        let fields = [1, 0o100_644, 0, 0, 1, 0, content.len(), 0, 0, 0, 0, path.len() + 1, 0];
        archive.extend(b"070701");
        archive.extend(fields.iter().flat_map(|field| format!("{field:08x}").into_bytes()));
        archive.extend(path.bytes().chain([0]));
        archive.resize(archive.len().next_multiple_of(4), 0);
        archive.extend(content);
        archive.resize(archive.len().next_multiple_of(4), 0);
    }
    archive
}

/// An RPM package of `payload`, with a signature header whose size is no multiple of eight.
pub(crate) fn rpm(payload: &[u8]) -> Vec<u8> {
    let mut package = b"\xed\xab\xee\xdb\x03\x00".to_vec();
    package.resize(96, 0);
    for (entries, data) in [(2_u32, 5_u32), (3, 100)] {
        package.extend(b"\x8e\xad\xe8\x01\0\0\0\0");
        package.extend(entries.to_be_bytes());
        package.extend(data.to_be_bytes());
        let end = package.len() + 16 * entries as usize + data as usize;
        package.resize(end, 0);
        if entries == 2 {
            package.resize(end.next_multiple_of(8), 0);
        }
    }
    package.extend(payload);
    package
}

/// Writes a file of a test.
pub(crate) fn file(folder: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, bytes).unwrap();
    path
}

/// All that an archive's visitor sees.
pub(crate) fn visited(
    bytes: &[u8],
    visit: fn(&mut dyn Read, &mut crate::archive::Visit<'_>) -> anyhow::Result<()>,
) -> anyhow::Result<Vec<Entry>> {
    let mut found = Vec::new();
    visit(&mut &*bytes, &mut |name, size, content| {
        let mut read = Vec::new();
        content.read_to_end(&mut read)?;
        anyhow::ensure!(read.len() as u64 == size, "is truncated");
        found.push((String::from_utf8_lossy(name).into_owned(), read));
        Ok(())
    })?;
    Ok(found)
}
