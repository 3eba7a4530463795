//! What programs expect to find mounted, and the folders that the host shares.

use std::{
    fs::{self, Permissions},
    io,
    os::unix::fs::{PermissionsExt, symlink},
};

use hv_agent_protocol::{Mount, Source};
use rustix::mount::MountFlags;

use super::{disks, root::mount_at};
use crate::log::log;

/// Mounts everything beside the root: what the kernel provides, as far as it does, and then `mounts`.
pub(super) fn mount_all(mounts: &[Mount]) -> Result<(), String> {
    let quiet = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    let terminals = MountFlags::NOSUID | MountFlags::NOEXEC;
    let memory = MountFlags::NOSUID | MountFlags::NODEV;
    let mut wanted = vec![
        ("devpts", "/dev/pts", terminals, "newinstance,ptmxmode=0666,mode=0620,gid=5"),
        ("tmpfs", "/dev/shm", memory, "mode=1777"),
        ("mqueue", "/dev/mqueue", quiet, ""),
        ("cgroup2", "/sys/fs/cgroup", quiet, ""),
    ];
    // An image may have folders there that its programs need.
    if fs::read_dir("/run").map_or(true, |mut entries| entries.next().is_none()) {
        wanted.push(("tmpfs", "/run", memory, "mode=0755"));
    }
    for (filesystem, target, flags, options) in wanted {
        // A kernel need not have all of them.
        if let Err(error) = mount_at(filesystem, target, filesystem, flags, options) {
            log(&error);
        }
    }
    links();
    if !fs::exists("/tmp").unwrap_or(true)
        && let Err(error) = temporary_folder()
    {
        log(&format!("/tmp cannot be made: {error}"));
    }
    mounts.iter().try_for_each(mount_shared)
}

fn temporary_folder() -> io::Result<()> {
    fs::create_dir("/tmp")?;
    fs::set_permissions("/tmp", Permissions::from_mode(0o1777))
}

fn links() {
    let links = [
        ("/proc/self/fd", "/dev/fd"),
        ("/proc/self/fd/0", "/dev/stdin"),
        ("/proc/self/fd/1", "/dev/stdout"),
        ("/proc/self/fd/2", "/dev/stderr"),
    ];
    for (target, link) in links {
        // It may be there.
        let _ = symlink(target, link);
    }
}

fn mount_shared(mount: &Mount) -> Result<(), String> {
    let source = match &mount.source {
        Source::Name(name) => name.clone(),
        Source::Serial(serial) => disks::find(serial)?.to_string_lossy().into_owned(),
    };
    let mut flags = MountFlags::empty();
    flags.set(MountFlags::RDONLY, mount.read_only);
    mount_at(&source, &mount.target, &mount.filesystem, flags, &mount.options)
}
