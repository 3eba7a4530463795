//! Tests of import from each kind of source, and of what is refused.

use std::fs;

use tempfile::TempDir;

use crate::{
    Architecture, Feature, Kernel, Store,
    testing::{
        Entry, RELEASE, arm64_image, bzimage, config, cpio, deb, depending, file, kernel_files, module,
        parts, rpm, zstd,
    },
};

/// A store and a folder for sources.
struct Bench {
    folder: TempDir,
    store: Store,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path().join("kernels")).unwrap();
        Self { folder, store }
    }

    /// Imports what packages of these files hold.
    fn import(&self, packages: &[Vec<Entry>]) -> anyhow::Result<Kernel> {
        let paths = packages.iter().enumerate();
        let paths = paths.map(|(at, files)| file(self.folder.path(), &format!("{at}.deb"), &deb(files)));
        self.store.import(&paths.collect::<Vec<_>>(), None, None)
    }

    /// Why the kernel of these files is refused; nothing of it may be left.
    fn refusal(&self, packages: &[Vec<Entry>]) -> String {
        let error = format!("{:#}", self.import(packages).expect_err("a refusal"));
        assert!(!error.contains('\n'), "{error}");
        let left = fs::read_dir(self.folder.path().join("kernels")).unwrap();
        let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, [".lock"]);
        error
    }

    /// Writes the kernel's files as they would be installed.
    fn install(&self) {
        for (path, content) in kernel_files() {
            file(self.folder.path(), &path, &content);
        }
    }
}

fn names(kernel: &Kernel, features: &[Feature]) -> Vec<String> {
    let modules = kernel.modules(features).unwrap();
    for module in &modules {
        assert!(fs::read(&module.path).unwrap().starts_with(b"\x7fELF"), "{}", module.path.display());
    }
    modules.into_iter().map(|module| module.name).collect()
}

/// Kernel files with some replaced, added or (without content) left out.
fn changed(changes: &[(&str, Option<Vec<u8>>)]) -> Vec<Entry> {
    let mut files = kernel_files();
    for (end, content) in changes {
        files.retain(|file| !file.0.ends_with(end));
        files.extend(content.clone().map(|content| ((*end).to_owned(), content)));
    }
    files
}

fn check_whole(kernel: &Kernel) {
    assert_eq!((kernel.release.as_str(), kernel.architecture), (RELEASE, Architecture::X86_64));
    assert_eq!(fs::read(kernel.image()).unwrap(), bzimage(RELEASE));
    assert_eq!(fs::read(kernel.image().with_file_name("config")).unwrap(), config(&[], &[]));
    let root = [Feature::Ext4, Feature::Block, Feature::VirtioPci];
    let expected =
        ["virtio", "virtio_ring", "virtio_pci", "virtio_blk", "crc32c_generic", "crc32c_intel", "ext4"];
    assert_eq!(names(kernel, &root), expected);
    let all = names(kernel, &Feature::ALL);
    // All parts, what they depend on, and nothing else.
    assert_eq!(all.len(), parts().len() + 4);
    assert!(!all.contains(&String::from("soundcore")));
    assert_eq!(names(kernel, &[]), [""; 0]);
    let files = fs::read_dir(kernel.image().with_file_name("modules")).unwrap();
    assert_eq!(files.count(), all.len());
}

#[test]
fn packages_are_imported_whole_or_split() {
    check_whole(&Bench::new().import(&[kernel_files()]).unwrap());
    let (image, rest): (Vec<_>, Vec<_>) =
        kernel_files().into_iter().partition(|file| file.0.contains("vmlinuz"));
    let (config, rest): (Vec<_>, Vec<_>) = rest.into_iter().partition(|file| file.0.contains("config"));
    check_whole(&Bench::new().import(&[rest, config, image]).unwrap());

    let bench = Bench::new();
    let package = file(bench.folder.path(), "kernel.rpm", &rpm(&zstd(&cpio(&kernel_files()))));
    check_whole(&bench.store.import(&[package], None, None).unwrap());
}

#[test]
fn images_and_folders_are_imported() {
    let bench = Bench::new();
    bench.install();
    let at = |path: &str| bench.folder.path().join(path);
    let image = at(&format!("boot/vmlinuz-{RELEASE}"));
    let release = format!("lib/modules/{RELEASE}");
    for modules in ["lib/modules", ".", &release] {
        let kernel =
            bench.store.import(std::slice::from_ref(&image), Some(&at(modules)), Some("image")).unwrap();
        check_whole(&kernel);
    }
    for folder in ["boot", "."] {
        check_whole(&bench.store.import(&[at(folder)], None, Some("image")).unwrap());
    }
    // As in a folder of one kernel.
    let one = at("one");
    fs::create_dir_all(one.join("modules/lib/modules")).unwrap();
    fs::rename(at(&release), one.join("modules").join(&release)).unwrap();
    fs::rename(&image, one.join("vmlinuz")).unwrap();
    fs::rename(at(&format!("boot/config-{RELEASE}")), one.join("config")).unwrap();
    check_whole(&bench.store.import(&[one], None, Some("image")).unwrap());
}

#[test]
fn the_newest_kernel_of_a_folder_is_taken() {
    let bench = Bench::new();
    bench.install();
    let boot = bench.folder.path().join("boot");
    for (release, suffix) in [("6.1.0-6-amd64", ""), ("0-rescue", ""), ("9.0", ".old")] {
        file(&boot, &format!("vmlinuz-{release}{suffix}"), &bzimage(release));
    }
    check_whole(&bench.store.import(&[boot], None, None).unwrap());
}

#[test]
fn links_among_modules_are_not_followed() {
    let bench = Bench::new();
    bench.install();
    let modules = bench.folder.path().join(format!("lib/modules/{RELEASE}"));
    std::os::unix::fs::symlink("..", modules.join("kernel/build")).unwrap();
    std::os::unix::fs::symlink("/dev/zero", modules.join("updates.ko")).unwrap();
    check_whole(&bench.store.import(&[bench.folder.path().join("boot")], None, None).unwrap());
}

#[test]
fn what_every_guest_needs_is_demanded_by_its_option() {
    for (option, module) in [
        ("CONFIG_EROFS_FS", "erofs"),
        ("CONFIG_OVERLAY_FS", "overlay"),
        ("CONFIG_EXT4_FS", "ext4"),
        ("CONFIG_VIRTIO_BLK", "virtio_blk"),
        ("CONFIG_VIRTIO_VSOCKETS", "vmw_vsock_virtio_transport"),
    ] {
        let module = format!("/{module}.ko");
        let without = config(&[], &[option]);
        let path = format!("./boot/config-{RELEASE}");
        let why = Bench::new().refusal(&[changed(&[(&module, None), (&path, Some(without))])]);
        assert!(why.starts_with(&format!("kernel {RELEASE} lacks {option}: hv needs it for ")), "{why}");
        assert!(why.ends_with("; choose another kernel"), "{why}");
        // It is a module, but the package that has it was not given.
        let why = Bench::new().refusal(&[changed(&[(&module, None)])]);
        assert!(why.contains(&format!("has {option}=m, but")) && why.contains("give the package"), "{why}");
    }
}

#[test]
fn options_that_cannot_be_modules_are_demanded() {
    for option in ["CONFIG_DEVTMPFS", "CONFIG_BLK_DEV_INITRD", "CONFIG_TMPFS", "CONFIG_UNIX"] {
        let path = format!("./boot/config-{RELEASE}");
        let why = Bench::new().refusal(&[changed(&[(&path, Some(config(&[], &[option])))])]);
        assert!(why.contains(&format!("lacks {option}=y")), "{why}");
    }
}

#[test]
fn one_transport_is_enough_and_none_is_too_few() {
    let path = format!("./boot/config-{RELEASE}");
    let pci = ("/virtio_pci.ko", None);
    let without = config(&[], &["CONFIG_VIRTIO_PCI"]);
    let bench = Bench::new();
    let kernel = bench.import(&[changed(&[pci.clone(), (&path, Some(without))])]).unwrap();
    assert_eq!(kernel.lacks(Feature::VirtioPci), Some("CONFIG_VIRTIO_PCI is not set"));
    assert_eq!(kernel.lacks(Feature::VirtioMmio), None);
    let error = kernel.modules(&[Feature::Block, Feature::VirtioPci]).unwrap_err().to_string();
    assert!(error.contains("CONFIG_VIRTIO_PCI is not set; choose another kernel"), "{error}");

    let without = config(&[], &["CONFIG_VIRTIO_PCI", "CONFIG_VIRTIO_MMIO"]);
    let why = Bench::new().refusal(&[changed(&[pci, ("/virtio_mmio.ko", None), (&path, Some(without))])]);
    assert!(why.contains("lacks CONFIG_VIRTIO_PCI"), "{why}");
}

#[test]
fn optional_parts_are_noted() {
    let path = format!("./boot/config-{RELEASE}");
    let without = config(&[], &["CONFIG_INPUT_EVDEV"]);
    let kernel = Bench::new().import(&[changed(&[("/evdev.ko", None), (&path, Some(without))])]).unwrap();
    assert_eq!(kernel.lacks(Feature::PowerButton), Some("CONFIG_INPUT_EVDEV is not set"));
    let kernel = Bench::new().import(&[changed(&[("/virtiofs.ko", None)])]).unwrap();
    assert!(kernel.lacks(Feature::Fs).unwrap().contains("virtiofs.ko is in none of the files"));
    // Nothing of what is incomplete is kept.
    assert!(!kernel.image().with_file_name("modules").join("fuse.ko").exists());
}

#[test]
fn what_is_built_in_needs_no_module() {
    let by_config = config(&["CONFIG_EXT4_FS"], &[]);
    let path = format!("./boot/config-{RELEASE}");
    let bench = Bench::new();
    let kernel = bench.import(&[changed(&[("/ext4.ko", None), (&path, Some(by_config))])]).unwrap();
    assert_eq!(names(&kernel, &[Feature::Ext4]), [""; 0]);

    let list = format!("./lib/modules/{RELEASE}/modules.builtin");
    let text = b"kernel/fs/ext4/ext4.ko\n".to_vec();
    let files = changed(&[("/ext4.ko", None), (&path, None), (&list, Some(text))]);
    let kernel = Bench::new().import(&[files]).unwrap();
    assert_eq!(names(&kernel, &[Feature::Ext4]), [""; 0]);
    assert!(!kernel.image().with_file_name("config").exists());
}

#[test]
fn a_kernel_of_one_file_needs_its_configuration() {
    let bench = Bench::new();
    let image = file(bench.folder.path(), "bzImage", &bzimage("6.9"));
    let error = bench.store.import(std::slice::from_ref(&image), None, None).unwrap_err().to_string();
    assert!(error.contains("nor a configuration that says CONFIG_"), "{error}");
    let all: Vec<_> = parts().into_iter().map(|part| part.0).collect();
    let config = file(bench.folder.path(), "my.config", &config(&all, &[]));
    let kernel = bench.store.import(&[image, config], None, None).unwrap();
    assert_eq!((kernel.name.as_str(), kernel.release.as_str()), ("6.9-x86_64", "6.9"));
    assert_eq!(names(&kernel, &Feature::ALL), [""; 0]);
}

#[test]
fn kernel_and_modules_must_belong_together() {
    let arm = module(183, &["depends=", &format!("vermagic={RELEASE} SMP")]);
    let virtio = format!("./lib/modules/{RELEASE}/kernel/drivers/virtio/virtio.ko");
    let image = format!("./boot/vmlinuz-{RELEASE}");
    for (files, says) in [
        (changed(&[(&virtio, Some(arm))]), "for another processor than the kernel, which is x86_64"),
        (
            changed(&[(&image, Some(arm64_image()))]),
            "for another processor than the kernel, which is aarch64",
        ),
        (changed(&[(&image, Some(bzimage("6.2")))]), "the image is of kernel 6.2, not of 6.1.0-7-amd64"),
        (changed(&[(&image, Some(b"text".to_vec()))]), "is no kernel that is known here"),
        (changed(&[(&image, None)]), "but not its image"),
        (
            changed(&[("./boot/vmlinuz-6.2", Some(bzimage("6.2")))]),
            "6.1.0-7-amd64, 6.2: import one at a time",
        ),
        (changed(&[(&virtio, Some(depending("virtio_pci")))]), "in a circle"),
        (vec![(String::from("./etc/passwd"), b"x".to_vec())], "hold no kernel"),
    ] {
        let why = Bench::new().refusal(&[files]);
        assert!(why.contains(says), "{why}");
    }
    let bench = Bench::new();
    bench.install();
    let image = file(bench.folder.path(), "vmlinuz-7.0", &bzimage("7.0"));
    let error = bench.store.import(&[image], Some(bench.folder.path()), None).unwrap_err().to_string();
    assert!(error.contains("has no modules: give lib/modules/7.0"), "{error}");
}

#[test]
fn an_image_that_is_too_large_is_not_kept() {
    let bench = Bench::new();
    let all: Vec<_> = parts().into_iter().map(|part| part.0).collect();
    let config = file(bench.folder.path(), "config", &config(&all, &[]));
    let image = file(bench.folder.path(), "vmlinuz", &bzimage("6.9"));
    fs::File::options().write(true).open(&image).unwrap().set_len((256 << 20) + 1).unwrap();
    let error = bench.store.import(&[image, config], None, None).unwrap_err().to_string();
    assert!(error.contains("has 268435457 bytes"), "{error}");
}

#[test]
fn what_cannot_be_read_is_named() {
    let bench = Bench::new();
    let text = file(bench.folder.path(), "notes.txt", b"hello");
    let nothing = bench.folder.path().join("nothing");
    fs::create_dir(bench.folder.path().join("empty")).unwrap();
    for (path, says) in [
        (text, "notes.txt: is no kernel that is known here"),
        (nothing, "nothing"),
        (bench.folder.path().join("empty"), "has no kernel"),
    ] {
        let error = format!("{:#}", bench.store.import(&[path], None, None).unwrap_err());
        assert!(error.contains(says), "{error}");
    }
    assert!(bench.store.import(&[], None, None).is_err());
}
