//! The kernels' store after somebody else, or a bad disk, wrote to its files.

use std::{cell::RefCell, fs, path::PathBuf};

use hv_kernels::{Architecture, Feature, Store};
use tempfile::TempDir;

use crate::Input;

const NAME: &str = "kernel";
/// What is written down of a kernel.
const WHOLE: &str = r#"{"format": 1, "architecture": "x86_64", "release": "6.1.0-7-amd64", "size": 123456,
  "modules": ["virtio", "virtio_ring", "virtio_pci", "ext4"],
  "features": {"virtio-pci": {"modules": ["virtio", "virtio_ring", "virtio_pci"]}, "block": {"modules": []},
    "ext4": {"modules": ["ext4"]}, "fs": {"lacks": "CONFIG_VIRTIO_FS is not set"}}}"#;

thread_local! {
    static STORE: RefCell<Option<(TempDir, PathBuf, Store)>> = const { RefCell::new(None) };
}

fn store() -> (TempDir, PathBuf, Store) {
    let folder = crate::quick_folder();
    let kernel = folder.path().join(NAME);
    fs::create_dir(&kernel).expect("a folder");
    let store = Store::open(folder.path()).expect("a store");
    (folder, kernel, store)
}

/// A kernel's record: these bytes, or a sound one with some of its bits flipped; the last bytes are the default's name.
///
/// It is a kernel or an error of one line; all of its files are in its folder.
///
/// # Panics
/// One of these is not so.
pub fn kernel_store(data: &[u8]) {
    STORE.with_borrow_mut(|made| {
        let (folder, kernel, store) = made.get_or_insert_with(store);
        let mut input = Input::new(data);
        let is_flipped = input.flag();
        let name = usize::from(input.u8() & 15);
        let name = input.bytes(name);
        fs::write(folder.path().join(".default.x86_64"), name).expect("a file");
        let mut bytes = if is_flipped { WHOLE.into() } else { input.bytes(usize::MAX).to_vec() };
        while is_flipped && !input.is_empty() {
            let at = usize::from(input.u16()) % bytes.len();
            bytes[at] ^= 1 << input.below(8);
        }
        fs::write(kernel.join("kernel.json"), &bytes).expect("a file");
        check(store, kernel);
    });
}

fn check(store: &Store, folder: &PathBuf) {
    let listed = store.list().expect("a bad kernel is left out");
    match store.find(NAME) {
        Ok(kernel) => {
            assert_eq!(listed.len(), 1);
            assert!(kernel.image().starts_with(folder));
            for feature in Feature::ALL {
                match kernel.modules(&[feature]) {
                    Ok(modules) => {
                        for module in modules {
                            let above = module.path.parent().and_then(|path| path.parent());
                            assert_eq!(above, Some(folder.as_path()), "{module:?}");
                        }
                    }
                    Err(error) => one_line(&error),
                }
            }
        }
        Err(error) => {
            assert!(listed.is_empty());
            one_line(&error);
        }
    }
    for architecture in [Architecture::X86_64, Architecture::Aarch64] {
        let default = store.default(architecture).expect("the folder can be read");
        assert!(default.is_none_or(|kernel| kernel.architecture == architecture && kernel.name == NAME));
    }
}

fn one_line(error: &anyhow::Error) {
    let text = format!("{error:#}");
    assert!(!text.contains('\n') && text.len() < 3000, "{text}");
}
