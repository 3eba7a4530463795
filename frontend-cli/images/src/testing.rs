//! What tests make images of, and how they look at what became of them.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Write,
    path::Path,
    process::Command,
};

use anyhow::Result;
use flate2::{Compression, write::GzEncoder};
use tempfile::TempDir;

use crate::{
    Descriptor, Digest, Limits,
    erofs::Writer,
    layer::Root,
    manifest::{OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_MANIFEST},
    tar::Archive,
    tree::{Kind, NodeId, Tree},
};

/// A tar archive that is being written, with whatever a test wants to be in it.
#[derive(Default)]
pub(crate) struct TarWriter(Vec<u8>);

impl TarWriter {
    pub(crate) fn entry(
        &mut self,
        kind: u8,
        path: &[u8],
        link: &str,
        data: &[u8],
        change: impl FnOnce(&mut ::tar::Header),
    ) -> &mut Self {
        let mut header = ::tar::Header::new_gnu();
        let name = &mut header.as_old_mut().name;
        name[..path.len()].copy_from_slice(path);
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(::tar::EntryType::new(kind));
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1);
        header.set_size(data.len() as u64);
        change(&mut header);
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.data(data)
    }

    /// Bytes, up to a whole block.
    pub(crate) fn data(&mut self, data: &[u8]) -> &mut Self {
        self.0.extend_from_slice(data);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    pub(crate) fn file(&mut self, path: &str, data: &[u8]) -> &mut Self {
        self.entry(b'0', path.as_bytes(), "", data, |_| {})
    }

    pub(crate) fn directory(&mut self, path: &str) -> &mut Self {
        self.entry(b'5', path.as_bytes(), "", b"", |header| header.set_mode(0o755))
    }

    pub(crate) fn symlink(&mut self, path: &str, target: &str) -> &mut Self {
        self.entry(b'2', path.as_bytes(), target, b"", |_| {})
    }

    pub(crate) fn hard_link(&mut self, path: &str, target: &str) -> &mut Self {
        self.entry(b'1', path.as_bytes(), target, b"", |_| {})
    }

    pub(crate) fn pax(&mut self, records: &[(&str, &[u8])]) -> &mut Self {
        let mut data = Vec::new();
        for (key, value) in records {
            let rest = 1 + key.len() + 1 + value.len() + 1;
            let mut length = rest + 1;
            while length != rest + length.to_string().len() {
                length += 1;
            }
            data.extend_from_slice(format!("{length} {key}=").as_bytes());
            data.extend_from_slice(value);
            data.push(b'\n');
        }
        self.entry(b'x', b"pax", "", &data, |_| {})
    }

    /// The archive, with its two blocks of zeroes.
    pub(crate) fn finish(&mut self) -> Vec<u8> {
        let mut bytes = self.0.clone();
        bytes.resize(bytes.len() + 1024, 0);
        bytes
    }
}

/// An archive that `add` fills.
pub(crate) fn tar(add: impl FnOnce(&mut TarWriter)) -> Vec<u8> {
    let mut writer = TarWriter::default();
    add(&mut writer);
    writer.finish()
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub(crate) fn zstd(bytes: &[u8]) -> Vec<u8> {
    ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
}

/// Unpacks layers; what is then in the tree.
pub(crate) fn unpack(layers: &[Vec<u8>]) -> Result<BTreeMap<String, String>> {
    unpack_with(layers, &Limits::default())
}

pub(crate) fn unpack_with(layers: &[Vec<u8>], limits: &Limits) -> Result<BTreeMap<String, String>> {
    let mut root = Root::new(Writer::new(tempfile::tempfile()?)?, limits);
    for layer in layers {
        root.apply(&mut Archive::new(&layer[..]))?;
    }
    let listed = listing(root.parts().0);
    root.finish([7; 16])?;
    Ok(listed)
}

/// All paths of a tree with what is there.
pub(crate) fn listing(tree: &Tree) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut ahead = vec![(String::new(), Tree::ROOT)];
    while let Some((path, node)) = ahead.pop() {
        for (name, child) in tree.children(node) {
            ahead.push((format!("{path}/{}", name.escape_ascii()), child));
        }
        found.insert(if path.is_empty() { "/".to_owned() } else { path }, describe(tree, node));
    }
    found
}

fn describe(tree: &Tree, node: NodeId) -> String {
    let of = tree.attributes(node);
    let kind = match tree.kind(node) {
        Kind::Directory => "directory".to_owned(),
        Kind::File(content) => format!("file {}", content.size),
        Kind::Symlink(target) => format!("-> {}", target.escape_ascii()),
        Kind::CharacterDevice { major, minor } => format!("character {major}:{minor}"),
        Kind::BlockDevice { major, minor } => format!("block {major}:{minor}"),
        Kind::Fifo => "fifo".to_owned(),
        Kind::Socket => "socket".to_owned(),
    };
    let mut text = format!("{kind} {:o} {}:{}", of.mode, of.uid, of.gid);
    if !matches!(tree.kind(node), Kind::Directory) && tree.names(node) > 1 {
        text.push_str(&format!(" names {}", tree.names(node)));
    }
    for (name, value) in &of.xattrs {
        text.push_str(&format!(" {}={}", name.escape_ascii(), value.escape_ascii()));
    }
    text
}

/// Extracts an EROFS image with the tools of its makers; nothing, with a word about it, where these are not installed.
pub(crate) fn extract(image: &Path) -> Option<TempDir> {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new("fsck.erofs");
    command.arg(format!("--extract={}", folder.path().display())).arg("--overwrite").arg(image);
    let Ok(output) = command.output() else {
        eprintln!("skipped in part: fsck.erofs is not installed");
        return None;
    };
    assert!(output.status.success(), "{output:?}");
    Some(folder)
}

/// An image that is being made for a test.
pub(crate) struct TestImage {
    pub(crate) architecture: &'static str,
    pub(crate) config: serde_json::Value,
    /// Blobs of the layers, and the archives in them.
    pub(crate) layers: Vec<(Vec<u8>, Vec<u8>)>,
}

impl TestImage {
    pub(crate) fn new(architecture: &'static str, layers: &[Vec<u8>]) -> Self {
        let layers = layers.iter().map(|layer| (gzip(layer), layer.clone())).collect();
        Self { architecture, config: serde_json::json!({"Cmd": ["/bin/true"], "Env": ["A=b"]}), layers }
    }

    pub(crate) fn config(&self) -> Vec<u8> {
        let diff_ids: Vec<_> = self.layers.iter().map(|(_, archive)| Digest::of(archive)).collect();
        let config = serde_json::json!({
            "architecture": self.architecture, "os": "linux", "created": "2024-01-02T03:04:05Z",
            "config": self.config, "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        serde_json::to_vec(&config).unwrap()
    }

    /// Writes the image's blobs into a layout; the descriptor of its manifest.
    pub(crate) fn write(&self, layout: &Path) -> Descriptor {
        let config = blob(layout, OCI_CONFIG, &self.config());
        let layer = |(packed, _): &(Vec<u8>, Vec<u8>)| blob(layout, &format!("{OCI_LAYER}+gzip"), packed);
        let layers: Vec<_> = self.layers.iter().map(layer).collect();
        let manifest = serde_json::json!({
            "schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": layers,
        });
        blob(layout, OCI_MANIFEST, &serde_json::to_vec(&manifest).unwrap())
    }
}

/// Writes a blob into a layout.
pub(crate) fn blob(layout: &Path, media_type: &str, bytes: &[u8]) -> Descriptor {
    let folder = layout.join("blobs/sha256");
    fs::create_dir_all(&folder).unwrap();
    let descriptor = Descriptor::of(media_type, bytes);
    fs::write(folder.join(descriptor.digest.hex()), bytes).unwrap();
    descriptor
}

/// Writes the top of a layout.
pub(crate) fn index(layout: &Path, manifests: &[Descriptor]) {
    fs::create_dir_all(layout).unwrap();
    fs::write(layout.join("oci-layout"), r#"{"imageLayoutVersion": "1.0.0"}"#).unwrap();
    let index = serde_json::json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests});
    fs::write(layout.join("index.json"), serde_json::to_vec(&index).unwrap()).unwrap();
}

/// Packs a folder into an archive by `tar`.
pub(crate) fn pack(folder: &Path, archive: &Path) {
    let mut builder = ::tar::Builder::new(File::create(archive).unwrap());
    builder.follow_symlinks(false);
    builder.append_dir_all("", folder).unwrap();
    builder.finish().unwrap();
}
