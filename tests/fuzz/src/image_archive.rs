//! Whole archives of images, as `hv image import` and `hv run` are given: OCI layouts and what `docker save` writes.

use std::{cell::RefCell, fs};

use hv_images::{Architecture, Digest, Limits, Quiet, Store};
use tempfile::TempDir;

use crate::Input;

const BLOCK: usize = 512;

thread_local! {
    static CACHE: RefCell<Option<(TempDir, Store)>> = const { RefCell::new(None) };
}

fn cache() -> (TempDir, Store) {
    let folder = crate::quick_folder();
    let store = Store::open(&folder.path().join("cache")).expect("a cache");
    (folder, store.with_limits(Limits { layer_bytes: 1 << 20, image_bytes: 2 << 20, entries: 256 }))
}

/// Any bytes as an archive, or a sound one with some bits of its documents flipped and digests made right again, so that what
/// is wrong is not found by them.
///
/// It is imported, and found then, or refused in one line; nothing of a refused one stays.
///
/// # Panics
/// One of these is not so.
pub fn image_archive(data: &[u8]) {
    let mut input = Input::new(data);
    let archive = match input.below(3) {
        0 => sound(&mut input, oci),
        1 => sound(&mut input, docker),
        _ => signed(input.bytes(usize::MAX)),
    };
    CACHE.with_borrow_mut(|made| {
        let (folder, store) = made.get_or_insert_with(cache);
        let path = folder.path().join("archive.tar");
        fs::write(&path, archive).expect("a file");
        match store.import(&path, Some("image"), Architecture::X86_64, &mut Quiet) {
            Ok(image) => {
                assert!(image.root().is_file() && image.root().starts_with(folder.path()));
                assert!(store.remove("image").expect("the cache can be changed"), "its name is known");
            }
            Err(error) => {
                let message = format!("{error:#}");
                assert!(!message.contains('\n') && message.len() < 3000, "{message}");
            }
        }
        assert!(store.list().expect("the cache can be read").is_empty());
        store.collect_garbage().expect("the cache can be changed");
        let left = fs::read_dir(folder.path().join("cache/roots/sha256")).expect("a folder").count();
        assert_eq!(left, 0, "a root stays");
    });
}

/// The layer, made of a few entries of the input, and the archive of an image that has it.
fn sound(input: &mut Input<'_>, make: fn(&mut Input<'_>, &[u8]) -> Vec<u8>) -> Vec<u8> {
    let mut layer = Vec::new();
    for _ in 0..input.below(4) {
        let name = input.choose(&["file", "a/b", "../up", "/root", ".wh.file", ".wh..wh..opq", "dev"]);
        let content = input.bytes(3);
        add(&mut layer, name, content);
    }
    layer.resize(layer.len() + 2 * BLOCK, 0);
    let layer = flipped(input, layer);
    make(input, &layer)
}

fn oci(input: &mut Input<'_>, layer: &[u8]) -> Vec<u8> {
    let config = flipped(input, configuration(layer));
    let manifest = format!(
        r#"{{"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": {},
            "layers": [{}]}}"#,
        descriptor("config.v1+json", &config),
        descriptor("layer.v1.tar", layer)
    );
    let manifest = flipped(input, manifest.into());
    let index =
        format!(r#"{{"schemaVersion": 2, "manifests": [{}]}}"#, descriptor("manifest.v1+json", &manifest));
    let mut archive = Vec::new();
    add(&mut archive, "oci-layout", &flipped(input, br#"{"imageLayoutVersion": "1.0.0"}"#.to_vec()));
    add(&mut archive, "index.json", &flipped(input, index.into()));
    for blob in [&config[..], &manifest, layer] {
        add(&mut archive, &format!("blobs/sha256/{}", Digest::of(blob).hex()), blob);
    }
    archive.resize(archive.len() + 2 * BLOCK, 0);
    archive
}

fn docker(input: &mut Input<'_>, layer: &[u8]) -> Vec<u8> {
    let config = flipped(input, configuration(layer));
    let manifest = br#"[{"Config": "c.json", "RepoTags": ["image:latest"], "Layers": ["l/layer.tar"]}]"#;
    let mut archive = Vec::new();
    add(&mut archive, "manifest.json", &flipped(input, manifest.to_vec()));
    add(&mut archive, "c.json", &config);
    add(&mut archive, "l/layer.tar", layer);
    archive.resize(archive.len() + 2 * BLOCK, 0);
    archive
}

fn configuration(layer: &[u8]) -> Vec<u8> {
    let digest = Digest::of(layer);
    format!(
        r#"{{"architecture": "amd64", "os": "linux", "config": {{"Cmd": ["x"]}},
            "rootfs": {{"type": "layers", "diff_ids": ["{digest}"]}}}}"#
    )
    .into()
}

fn descriptor(kind: &str, bytes: &[u8]) -> String {
    let (digest, size) = (Digest::of(bytes), bytes.len());
    format!(r#"{{"mediaType": "application/vnd.oci.image.{kind}", "digest": "{digest}", "size": {size}}}"#)
}

/// The same, seldom with a few bits changed.
fn flipped(input: &mut Input<'_>, mut bytes: Vec<u8>) -> Vec<u8> {
    let count = input.below(16).saturating_sub(11);
    for _ in 0..count {
        let at = usize::from(input.u16()) % bytes.len();
        bytes[at] ^= 1 << input.below(8);
    }
    bytes
}

/// Adds a file to a tar archive.
fn add(archive: &mut Vec<u8>, name: &str, content: &[u8]) {
    let mut header = [0; BLOCK];
    header[..name.len()].copy_from_slice(name.as_bytes());
    header[100..108].copy_from_slice(b"0000644\0");
    header[124..136].copy_from_slice(format!("{:011o}\0", content.len()).as_bytes());
    header[156] = b'0';
    header[257..265].copy_from_slice(b"ustar\x0000");
    sign(&mut header);
    archive.extend(header);
    archive.extend(content);
    archive.resize(archive.len().next_multiple_of(BLOCK), 0);
}

/// These bytes with checksums made right wherever there seems to be a header.
fn signed(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes.chunks_exact_mut(BLOCK).filter(|block| block[257..].starts_with(b"ustar")).for_each(sign);
    bytes
}

fn sign(header: &mut [u8]) {
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}
