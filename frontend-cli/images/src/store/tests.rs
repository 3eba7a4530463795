//! The cache as its users see it: every kind of source, what is wrong with them, several processes at once.

mod damage;
mod figures;
mod processes;
mod sources;

use std::{
    collections::VecDeque,
    fs,
    io::{self, Read},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
};

use anyhow::{Result, anyhow};
use tempfile::TempDir;

use super::*;
use crate::{
    Descriptor, Document, Quiet, Source,
    testing::{TestImage, extract, index, tar},
};

const ARCHITECTURE: Architecture = Architecture::X86_64;

struct Place {
    folder: TempDir,
    store: Store,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("store")).unwrap();
        Self { folder, store }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn import(&self, name: &str) -> Result<Image> {
        self.store.import(&self.path(name), None, ARCHITECTURE, &mut Quiet)
    }

    #[track_caller]
    fn error(&self, name: &str) -> String {
        format!("{:#}", self.import(name).unwrap_err())
    }

    /// Files of the cache, but for its lock.
    fn files(&self) -> Vec<String> {
        files_in(&self.path("store"))
    }
}

fn files_in(store: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for folder in ["blobs/sha256", "roots/sha256", "references", "tmp"] {
        found
            .extend(files::names(&store.join(folder)).unwrap().iter().map(|name| format!("{folder}/{name}")));
    }
    found
}

fn layers() -> Vec<Vec<u8>> {
    let lower = tar(|tar| drop(tar.file("etc/name", b"lower").file("bin/true", &[7; 100_000]).finish()));
    let upper =
        tar(|tar| drop(tar.file("etc/name", b"upper").file("bin/.wh.true", b"").symlink("x", "y").finish()));
    vec![lower, upper]
}

/// Checks that an image is the one of [`layers`].
fn check_image(image: &Image) {
    assert_eq!(image.config.command, ["/bin/true"]);
    assert_eq!(image.config.environment, ["A=b"]);
    check_root(image);
}

fn check_root(image: &Image) {
    let mut magic = [0; 1028];
    image.open_root().unwrap().read_exact(&mut magic).unwrap();
    assert_eq!(magic[1024..], 0xe0f5_e1e2_u32.to_le_bytes());
    assert_eq!(image.root().metadata().unwrap().permissions().mode() & 0o777, 0o400);
    if let Some(folder) = extract(image.root()) {
        assert_eq!(fs::read(folder.path().join("etc/name")).unwrap(), b"upper");
        assert!(!folder.path().join("bin/true").exists() && folder.path().join("bin").is_dir());
        assert_eq!(fs::read_link(folder.path().join("x")).unwrap(), Path::new("y"));
    }
}

fn layout(path: &Path) -> TestImage {
    let image = TestImage::new("amd64", &layers());
    index(path, &[image.write(path)]);
    image
}

/// A source in memory that breaks off when it is told to, and counts what it is asked for.
struct Remote {
    manifest: Vec<u8>,
    blobs: Vec<Vec<u8>>,
    /// After how many bytes the next blobs break off.
    breaks: VecDeque<usize>,
    offsets: Vec<u64>,
}

impl Remote {
    fn new(layers: &[Vec<u8>]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let image = TestImage::new("amd64", layers);
        let manifest = image.write(folder.path());
        let mut blobs: Vec<_> = image.layers.iter().map(|(packed, _)| packed.clone()).collect();
        blobs.push(image.config());
        let manifest = fs::read(folder.path().join("blobs/sha256").join(manifest.digest.hex())).unwrap();
        Self { manifest, blobs, breaks: VecDeque::new(), offsets: Vec::new() }
    }
}

impl Source for Remote {
    fn top(&mut self) -> Result<Document> {
        let bytes = self.manifest.clone();
        Ok(Document { media_type: String::new(), digest: Digest::of(&bytes), bytes })
    }

    fn manifest(&mut self, _: &Descriptor) -> Result<Document> {
        Err(anyhow!("there is no index"))
    }

    fn blob(&mut self, descriptor: &Descriptor, offset: u64) -> Result<Box<dyn Read + Send + '_>> {
        let bytes = self.blobs.iter().find(|bytes| Digest::of(bytes) == descriptor.digest).expect("a blob");
        if descriptor.media_type.contains("config") {
            return Ok(Box::new(&bytes[..]));
        }
        self.offsets.push(offset);
        let rest = &bytes[usize::try_from(offset).unwrap()..];
        Ok(match self.breaks.pop_front() {
            Some(length) => Box::new(rest[..length.min(rest.len())].chain(Broken)),
            None => Box::new(rest),
        })
    }

    fn resumable(&self) -> bool {
        true
    }
}

struct Broken;

impl Read for Broken {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::Error::new(io::ErrorKind::ConnectionReset, "the line broke"))
    }
}

#[test]
fn what_came_of_a_layer_is_gone_on_with() {
    let place = Place::new();
    let mut source = Remote::new(&layers());
    source.breaks = [300, 50].into();
    let pull = |source: &mut Remote| place.store.pull("test", source, ARCHITECTURE, &mut Quiet);
    for _ in 0..2 {
        let error = format!("{:#}", pull(&mut source).unwrap_err());
        assert!(error.contains("the line broke"), "{error}");
    }
    let part = place.files();
    assert!(part.len() == 1 && part[0].ends_with(".part"), "{part:?}");
    check_image(&pull(&mut source).unwrap());
    assert_eq!(source.offsets, [0, 300, 350, 0]);
    assert!(place.files().iter().all(|name| !name.contains("part") && !name.contains("tmp")));
    // It is there: the source is asked for its top alone.
    check_image(&pull(&mut source).unwrap());
    assert_eq!(source.offsets.len(), 4);
    // What was kept and is wrong is thrown away, and said to be.
    let mut source = Remote::new(&layers()[..1]);
    let digest = Digest::of(&source.blobs[0]);
    fs::write(place.store.blob_path(digest).with_extension("part"), [1; 200]).unwrap();
    let error = format!("{:#}", pull(&mut source).unwrap_err());
    assert!(error.contains("pull the image again"), "{error}");
    pull(&mut source).unwrap();
    assert_eq!(source.offsets, [200, 0]);
}

#[test]
fn a_pinned_digest_holds() {
    let place = Place::new();
    let mut source = Remote::new(&layers());
    let digest = source.top().unwrap().digest;
    let name = format!("test@{digest}");
    check_image(&place.store.pull(&name, &mut source, ARCHITECTURE, &mut Quiet).unwrap());
    let other = format!("test@{}", Digest::of(b""));
    let error = place.store.pull(&other, &mut source, ARCHITECTURE, &mut Quiet).unwrap_err();
    assert!(format!("{error:#}").contains(&digest.to_string()), "{error:#}");
}

#[test]
fn garbage_is_what_no_name_leads_to_and_nobody_runs() {
    let place = Place::new();
    let store = &place.store;
    let image = store.pull("test:a", &mut Remote::new(&layers()), ARCHITECTURE, &mut Quiet).unwrap();
    let again = store.pull("test:b", &mut Remote::new(&layers()), ARCHITECTURE, &mut Quiet).unwrap();
    let other = store.pull("test:c", &mut Remote::new(&layers()[..1]), ARCHITECTURE, &mut Quiet).unwrap();
    fs::write(place.path("store/tmp/left.erofs"), [0; 5000]).unwrap();
    fs::write(place.path("store/blobs/sha256/left.part"), [0; 5000]).unwrap();
    let freed = store.collect_garbage().unwrap();
    assert_eq!(freed.count, 2);
    assert!(freed.bytes >= 10_000, "{freed:?}");
    assert!(store.remove("test:a").unwrap());
    assert!(!store.remove("test:a").unwrap());
    assert!(store.find("test:a", ARCHITECTURE).unwrap().is_none());
    assert_eq!(store.collect_garbage().unwrap(), Freed::default());
    check_image(&again);
    assert!(store.remove("test:b").unwrap());
    let running = image.open_root().unwrap();
    // Its documents go; its root does not.
    assert_eq!(store.collect_garbage().unwrap().count, 2);
    check_image(&image);
    drop(running);
    assert_eq!(store.collect_garbage().unwrap().count, 1);
    assert!(!image.root().exists());
    let error = image.open_root().unwrap_err().to_string();
    assert!(error.contains("test:a was removed meanwhile"), "{error}");
    assert!(other.root().exists() && store.find("test:c", ARCHITECTURE).unwrap().is_some());
    fs::remove_file(other.root()).unwrap();
    assert!(store.find("test:c", ARCHITECTURE).unwrap().is_none());
    assert!(!store.list().unwrap()[0].complete);
    store.pull("test:c", &mut Remote::new(&layers()[..1]), ARCHITECTURE, &mut Quiet).unwrap();
    assert!(store.find("test:c", ARCHITECTURE).unwrap().is_some());
    fs::write(place.store.record_path("docker.io/library/test:c"), "{").unwrap();
    assert!(store.find("test:c", ARCHITECTURE).unwrap().is_none() && store.list().unwrap().is_empty());
}

#[test]
fn threads_that_pull_and_collect_at_once_disturb_nobody() {
    let place = Place::new();
    let store = &place.store;
    let (sender, receiver) = mpsc::channel();
    let unpacked = AtomicUsize::new(0);
    let images = Mutex::new(Vec::new());
    thread::scope(|scope| {
        // Whenever one begins and ends, at least.
        scope.spawn(|| receiver.into_iter().for_each(|()| assert!(store.collect_garbage().is_ok())));
        for number in 0..4 {
            let (images, unpacked, sender) = (&images, &unpacked, sender.clone());
            scope.spawn(move || {
                for round in 0..5 {
                    // Two threads each want the same image at the same time.
                    let content = format!("{round} {}", number / 2);
                    let mut source =
                        Remote::new(&[tar(|tar| drop(tar.file("f", content.as_bytes()).finish()))]);
                    let name = format!("test:{round}-{}", number / 2);
                    sender.send(()).unwrap();
                    let image = store.pull(&name, &mut source, ARCHITECTURE, &mut Quiet).unwrap();
                    sender.send(()).unwrap();
                    unpacked.fetch_add(source.offsets.len(), Ordering::Relaxed);
                    let root = image.open_root().unwrap();
                    images.lock().unwrap().push((image, root));
                }
            });
        }
        drop(sender);
    });
    assert_eq!(store.list().unwrap().len(), 10);
    assert_eq!(unpacked.into_inner(), 10, "each image was unpacked once");
    assert!(store.list().unwrap().iter().all(|one| one.complete));
}
