//! The root file system: the image, and what takes the changes to it.

use std::{
    ffi::CString,
    fs::{self, File},
    io,
    os::{
        fd::OwnedFd,
        unix::fs::{MetadataExt, chown},
    },
};

use hv_agent_protocol::{Disk, Root, Upper};
use rustix::{
    mount::{MountFlags, mount, mount_move},
    process::{chdir, chroot},
};

use super::disks;

const LOWER: &str = "/hv/lower";
const UPPER: &str = "/hv/upper";
const NEW_ROOT: &str = "/hv/root";
const UPPER_FOLDER: &str = "/hv/upper/upper";
const WORK_FOLDER: &str = "/hv/upper/work";

/// What the initramfs holds in RAM.
const INITRAMFS: [&str; 3] = ["/init", "/hv/boot", "/hv/modules"];

/// Mounts the new root at its place in the initramfs. Returns a descriptor of the disk that takes the changes, if there is
/// one: its folder cannot be named from the new root, and the disk must be put in order in the end.
pub(super) fn mount_root(root: &Root) -> Result<Option<OwnedFd>, String> {
    match &root.upper {
        Upper::None => mount_disk(&root.lower, NEW_ROOT, MountFlags::RDONLY).map(|()| None),
        Upper::Lower => mount_disk(&root.lower, NEW_ROOT, MountFlags::empty()).map(|()| None),
        Upper::Memory { limit } => {
            mount_disk(&root.lower, LOWER, MountFlags::RDONLY)?;
            let size = limit.map(|limit| format!(",size={limit}")).unwrap_or_default();
            mount_at("tmpfs", UPPER, "tmpfs", MountFlags::empty(), &format!("mode=0755{size}"))?;
            overlay().map(|()| None)
        }
        Upper::Disk(disk) => {
            mount_disk(&root.lower, LOWER, MountFlags::RDONLY)?;
            mount_disk(disk, UPPER, MountFlags::empty())?;
            overlay()?;
            Ok(File::open(UPPER).ok().map(OwnedFd::from))
        }
    }
}

fn mount_disk(disk: &Disk, target: &str, flags: MountFlags) -> Result<(), String> {
    let device = disks::find(&disk.serial)?;
    mount_at(&device.to_string_lossy(), target, &disk.filesystem, flags, "")
}

fn overlay() -> Result<(), String> {
    let prepare = || -> io::Result<()> {
        fs::create_dir_all(WORK_FOLDER)?;
        if fs::exists(UPPER_FOLDER)? {
            return Ok(());
        }
        // The root itself is the upper folder: it is to look as the image's.
        fs::create_dir(UPPER_FOLDER)?;
        let image = fs::metadata(LOWER)?;
        fs::set_permissions(UPPER_FOLDER, image.permissions())?;
        chown(UPPER_FOLDER, Some(image.uid()), Some(image.gid()))
    };
    prepare().map_err(|error| format!("the disk for changes to the image cannot be written: {error}"))?;
    let options = format!("lowerdir={LOWER},upperdir={UPPER_FOLDER},workdir={WORK_FOLDER}");
    mount_at("overlay", NEW_ROOT, "overlay", MountFlags::empty(), &options)
}

/// Mounts, with the folder made if it is missing.
pub(super) fn mount_at(
    source: &str,
    target: &str,
    filesystem: &str,
    flags: MountFlags,
    options: &str,
) -> Result<(), String> {
    let mounted = || -> io::Result<()> {
        if !fs::exists(target)? {
            fs::create_dir_all(target)?;
        }
        let options = CString::new(options)?;
        Ok(mount(source, target, filesystem, flags, &*options)?)
    };
    mounted().map_err(|error| format!("{source} ({filesystem}) cannot be mounted at {target}: {error}"))
}

/// Makes the new root the root, and gives back what the initramfs took.
pub(super) fn enter() -> Result<(), String> {
    for folder in ["/proc", "/sys", "/dev"] {
        let target = format!("{NEW_ROOT}{folder}");
        // One that cannot be made is told by the mount.
        let _ = fs::create_dir_all(&target);
        mount_move(folder, &*target).map_err(|error| format!("the image has no usable {folder}: {error}"))?;
    }
    for path in INITRAMFS {
        let _ = if path == "/hv/modules" { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    }
    let switch = || {
        chdir(NEW_ROOT)?;
        mount_move(".", "/")?;
        chroot(".")?;
        chdir("/")
    };
    switch().map_err(|error| format!("the image cannot become the root: {error}"))
}
