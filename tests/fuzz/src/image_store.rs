//! The cache of images after somebody else, or a bad disk, wrote to its files.

use std::{cell::RefCell, fs, path::PathBuf};

use hv_images::{Architecture, Quiet, Store};
use tempfile::TempDir;

use crate::Input;

const NAME: &str = "image";

/// A cache with an image, the file of its name, and what that file said at first.
struct Cache {
    _folder: TempDir,
    store: Store,
    folder: PathBuf,
    record: PathBuf,
    whole: Vec<u8>,
}

thread_local! {
    static CACHE: RefCell<Option<Cache>> = const { RefCell::new(None) };
}

impl Cache {
    fn new() -> Self {
        let made = crate::quick_folder();
        let (root, folder) = (made.path().join("root"), made.path().join("cache"));
        fs::create_dir(&root).expect("a folder");
        fs::write(root.join("file"), "text").expect("a file");
        let store = Store::open(&folder).expect("a cache");
        store.import(&root, Some(NAME), Architecture::Aarch64, &mut Quiet).expect("a folder is an image");
        let entry = fs::read_dir(folder.join("references")).expect("a folder").next().expect("a name");
        let record = entry.expect("a name").path();
        let whole = fs::read(&record).expect("a file");
        Self { _folder: made, store, folder, record, whole }
    }
}

/// The file of an image's name: these bytes, or what it said with some of its bits flipped.
///
/// It is an image of this cache or none, and nothing outside of the cache's folder is one; errors are one line.
///
/// # Panics
/// One of these is not so.
pub fn image_store(data: &[u8]) {
    CACHE.with_borrow_mut(|cache| play(cache.get_or_insert_with(Cache::new), data));
}

fn play(cache: &Cache, data: &[u8]) {
    let mut input = Input::new(data);
    let is_flipped = input.flag();
    let mut bytes = if is_flipped { cache.whole.clone() } else { input.bytes(usize::MAX).to_vec() };
    while is_flipped && !input.is_empty() {
        let at = usize::from(input.u16()) % bytes.len();
        bytes[at] ^= 1 << input.below(8);
    }
    fs::write(&cache.record, &bytes).expect("a file");
    for architecture in [Architecture::Aarch64, Architecture::X86_64] {
        match cache.store.find(NAME, architecture) {
            Ok(Some(image)) => {
                assert!(image.root().starts_with(&cache.folder), "{}", image.root().display());
                assert!(image.root().is_file());
            }
            Ok(None) => {}
            Err(error) => one_line(&error),
        }
    }
    if let Err(error) = cache.store.list() {
        one_line(&error);
    }
}

fn one_line(error: &anyhow::Error) {
    let text = format!("{error:#}");
    assert!(!text.contains('\n') && text.len() < 2000, "{text}");
}
