//! What others see in an image, against the tree that it was made of.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs,
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::{Path, PathBuf},
    process::Command,
};

use rustix::{fs as unix, io::Errno};
use tempfile::{NamedTempFile, TempDir, tempdir};

use crate::{
    erofs::is_kept,
    tree::{Kind, NodeId, Tree},
};

/// The bytes of a file of this owner: blocks that differ, a third of them zero.
pub(super) fn bytes(owner: u32, size: u64) -> Vec<u8> {
    let block = |index: u64| {
        let seed = (index + 1).wrapping_mul(u64::from(owner) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        (0..4096).map(
            move |byte| if seed.is_multiple_of(3) { 0 } else { u8::try_from((seed + byte) % 251).unwrap() },
        )
    };
    (0..).flat_map(block).take(usize::try_from(size).unwrap()).collect()
}

/// Everything: what erofs-utils take out of the image, and what Linux shows.
pub(super) fn check(image: &NamedTempFile, tree: &Tree) {
    if let Some(mounted) = Mounted::new(image) {
        same(mounted.path(), tree, true);
    }
    if let Some(folder) = extracted(image) {
        same(&folder.path().join("root"), tree, false);
    }
}

/// Whether erofs-utils find no fault.
pub(super) fn checks_out(image: &NamedTempFile) {
    fsck(image, &[]);
}

fn extracted(image: &NamedTempFile) -> Option<TempDir> {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIP taking files out of the image: only root can make devices and give files to others");
        checks_out(image);
        return None;
    }
    let folder = tempdir().unwrap();
    fsck(image, &[&format!("--extract={}", folder.path().join("root").display())]).then_some(folder)
}

fn fsck(image: &NamedTempFile, arguments: &[&str]) -> bool {
    let output = Command::new("fsck.erofs").args(arguments).arg(image.path()).output();
    let output = output.inspect_err(|error| eprintln!("SKIP fsck.erofs (package erofs-utils): {error}"));
    let Ok(output) = output else { return false };
    let said = String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && !said.contains("<E>"), "{said}");
    true
}

/// What `dump.erofs` says.
pub(super) fn dump(image: &NamedTempFile, arguments: &[&str]) -> Option<String> {
    let output = Command::new("dump.erofs").args(arguments).arg(image.path()).output();
    let output =
        output.inspect_err(|error| eprintln!("SKIP dump.erofs (package erofs-utils): {error}")).ok()?;
    assert!(output.status.success());
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// An image that Linux has mounted.
pub(super) struct Mounted(TempDir);

impl Mounted {
    /// Nothing if this user or kernel cannot.
    pub(super) fn new(image: &NamedTempFile) -> Option<Self> {
        let folder = tempdir().unwrap();
        let mut mount = Command::new("mount");
        let mounted =
            mount.args(["-t", "erofs", "-o", "loop,ro"]).arg(image.path()).arg(folder.path()).output();
        if mounted.as_ref().is_ok_and(|output| output.status.success()) {
            return Some(Self(folder));
        }
        eprintln!("SKIP mounting EROFS: {mounted:?}");
        // Whoever can mount any image must be able to mount this one.
        let is_unable = |said: &str| {
            ["permitted", "superuser", "root", "unknown", "loop"].iter().any(|word| said.contains(word))
        };
        assert!(mounted.is_err() || is_unable(&String::from_utf8_lossy(&mounted.unwrap().stderr)));
        None
    }

    pub(super) fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg(self.path()).status();
        assert!(unmounted.is_ok_and(|status| status.success()));
    }
}

/// Whether `folder` has the files of `tree` and no more. What is taken out of an image lacks what only a mounted one has
/// (`mounted`): links to one file, extended attributes, times of directories.
pub(super) fn same(folder: &Path, tree: &Tree, mounted: bool) {
    let mut inodes: BTreeMap<NodeId, u64> = BTreeMap::new();
    let mut ahead = vec![(folder.to_owned(), Tree::ROOT)];
    while let Some((path, node)) = ahead.pop() {
        let kind = tree.kind(node);
        let metadata = fs::symlink_metadata(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
        same_attributes(&path, tree, node, &metadata, mounted);
        if mounted {
            assert_eq!(*inodes.entry(node).or_insert(metadata.ino()), metadata.ino(), "{path:?}");
            same_xattrs(&path, tree, node);
        }
        match kind {
            Kind::Directory => {
                let mut names: Vec<_> =
                    fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().file_name()).collect();
                names.sort_unstable();
                assert_eq!(names.len(), tree.children(node).count(), "{path:?}");
                for (found, (name, child)) in names.iter().zip(tree.children(node)) {
                    assert_eq!(found.as_bytes(), name, "{path:?}");
                    ahead.push((path.join(OsStr::from_bytes(name)), child));
                }
            }
            Kind::File(content) => {
                let expected = bytes(tree.attributes(node).uid, content.size);
                let found = fs::read(&path).unwrap();
                // erofs-utils 1.5 leave holes out of the files that they take out of an image.
                let parts = content.extents.iter().map(|extent| {
                    let range = extent.file_range();
                    &expected[usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()]
                });
                let is_same = found == expected || !mounted && found == parts.collect::<Vec<_>>().concat();
                assert!(is_same, "{path:?}, mounted {mounted}, {} bytes: {content:?}", found.len());
            }
            Kind::Symlink(target) => {
                assert_eq!(fs::read_link(&path).unwrap(), PathBuf::from(OsStr::from_bytes(target)));
            }
            _ => {}
        }
    }
    let distinct: std::collections::BTreeSet<_> = inodes.values().collect();
    assert_eq!(distinct.len(), inodes.len(), "two files have one inode number");
}

fn same_attributes(path: &Path, tree: &Tree, node: NodeId, found: &fs::Metadata, mounted: bool) {
    let (attributes, kind) = (tree.attributes(node), tree.kind(node));
    let none = unix::makedev(0, 0);
    let (file_type, device) = match *kind {
        Kind::Fifo => (0o1, none),
        Kind::CharacterDevice { major, minor } => (0o2, unix::makedev(major, minor)),
        Kind::Directory => (0o4, none),
        Kind::BlockDevice { major, minor } => (0o6, unix::makedev(major, minor)),
        Kind::File(_) => (0o10, none),
        Kind::Symlink(_) => (0o12, none),
        Kind::Socket => (0o14, none),
    };
    // Hosts differ in the type of device numbers.
    assert_eq!((found.mode() >> 12, i128::from(found.rdev())), (file_type, device.into()), "{path:?}");
    // Taken out of an image, a file loses the first bits of its mode with its owner; links have no mode of their own.
    let bits = if mounted {
        0o7777
    } else if matches!(kind, Kind::Symlink(_)) {
        0
    } else {
        0o1777
    };
    assert_eq!(found.mode() & bits, u32::from(attributes.mode) & bits, "{path:?}");
    assert_eq!((found.uid(), found.gid()), (attributes.uid, attributes.gid), "{path:?}");
    if mounted || matches!(kind, Kind::File(_)) {
        assert_eq!(
            (found.mtime(), found.mtime_nsec()),
            (attributes.mtime, attributes.mtime_nanos.into()),
            "{path:?}"
        );
    }
    if mounted {
        let names = match kind {
            Kind::Directory => {
                2 + tree.children(node).filter(|(_, child)| *tree.kind(*child) == Kind::Directory).count()
                    as u64
            }
            _ => tree.names(node).into(),
        };
        assert_eq!(found.nlink(), names, "{path:?}");
    }
}

fn same_xattrs(path: &Path, tree: &Tree, node: NodeId) {
    let mut list = vec![0; 1 << 16];
    let length = unix::llistxattr(path, &mut list).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    let names = list[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty());
    let found: BTreeMap<Vec<u8>, Vec<u8>> =
        names.map(|name| (name.to_vec(), value(path, name).unwrap())).collect();
    let mut expected = tree.attributes(node).xattrs.clone();
    expected.retain(|name, _| is_kept(name));
    assert_eq!(found, expected, "{path:?}");
}

fn value(path: &Path, name: &[u8]) -> Result<Vec<u8>, Errno> {
    let mut value = vec![0; 1 << 16];
    let length = unix::lgetxattr(path, name, &mut value)?;
    value.truncate(length);
    Ok(value)
}
