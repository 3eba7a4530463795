//! Whether this user can open `/dev/kvm`, and why not.

use std::{
    fs::{self, OpenOptions},
    io,
    os::unix::fs::MetadataExt,
    path::Path,
};

use rustix::process::{getegid, geteuid, getgroups};

use crate::doctor::Verdict;

const GROUP_READ_WRITE: u32 = 0o060;

/// Opens the device below `root` (`/` but in tests) as a run would.
pub(super) fn examine(root: &Path) -> Verdict {
    let device = root.join("dev/kvm");
    match OpenOptions::new().read(true).write(true).open(&device) {
        Ok(_) => Verdict::Sound("can be opened".to_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => missing(root),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => match device.metadata() {
            Ok(metadata) => refused(root, metadata.mode(), metadata.gid()),
            Err(error) => unknown(&error),
        },
        Err(error) => unknown(&error),
    }
}

fn unknown(error: &io::Error) -> Verdict {
    Verdict::Problem {
        what: format!("it cannot be opened: {error}"),
        cure: "enable virtualization (Intel VT-x, AMD-V) in the firmware, then load kvm_intel or kvm_amd"
            .to_owned(),
    }
}

fn missing(root: &Path) -> Verdict {
    let processor = fs::read_to_string(root.join("proc/cpuinfo")).unwrap_or_default();
    let has = |flag: &str| {
        processor.lines().any(|line| line.starts_with("flags") && line.split(' ').any(|f| f == flag))
    };
    let cure = if has("vmx") {
        "load its module: `sudo modprobe kvm_intel`"
    } else if has("svm") {
        "load its module: `sudo modprobe kvm_amd`"
    } else {
        "enable virtualization (Intel VT-x, AMD-V) in the firmware; inside a virtual machine, enable nested \
         virtualization on its host; inside a container, pass the device in (`--device /dev/kvm`)"
    };
    Verdict::Problem { what: "there is none".to_owned(), cure: cure.to_owned() }
}

/// The device is there, but not for this user.
fn refused(root: &Path, mode: u32, gid: u32) -> Verdict {
    let groups = fs::read_to_string(root.join("etc/group")).unwrap_or_default();
    let users = fs::read_to_string(root.join("etc/passwd")).unwrap_or_default();
    let user = line(&users, 2, &geteuid().as_raw().to_string()).and_then(|fields| fields.first().copied());
    let group = line(&groups, 2, &gid.to_string());
    let name = group.as_ref().and_then(|fields| fields.first().copied()).unwrap_or("?");
    let member =
        |user| group.as_ref().and_then(|fields| fields.get(3)?.split(',').find(|member| *member == user));
    let cure = if mode & GROUP_READ_WRITE != GROUP_READ_WRITE || gid == 0 {
        "open it to the group kvm: `sudo chown root:kvm /dev/kvm && sudo chmod 660 /dev/kvm`".to_owned()
    } else if is_in_group(gid) {
        "look for what forbids it: a security module or the device rules of a container".to_owned()
    } else if user.and_then(member).is_some() {
        format!("you joined the group {name} after logging in: log out and in again")
    } else {
        format!("join the group {name}: `sudo usermod -aG {name} $USER`, then log in again")
    };
    Verdict::Problem { what: format!("no permission; it belongs to the group {name}"), cure }
}

/// The fields of the line of a file like `/etc/group` whose field `index` is `value`.
fn line<'a>(text: &'a str, index: usize, value: &str) -> Option<Vec<&'a str>> {
    text.lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .find(|fields| fields.get(index) == Some(&value))
}

fn is_in_group(gid: u32) -> bool {
    getegid().as_raw() == gid
        || getgroups().is_ok_and(|groups| groups.iter().any(|group| group.as_raw() == gid))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    fn cure(verdict: Verdict) -> String {
        match verdict {
            Verdict::Problem { cure, .. } => cure,
            Verdict::Sound(what) | Verdict::Note { what, .. } => panic!("{what}"),
        }
    }

    #[test]
    fn a_missing_device_names_the_module_of_the_processor() {
        let with = |flags: &str| cure(examine(host(&[("proc/cpuinfo", flags)]).path()));
        assert!(with("flags\t\t: fpu vmx sse").contains("kvm_intel"));
        assert!(with("flags\t\t: fpu svm sse").contains("kvm_amd"));
        assert!(with("flags\t\t: fpu sse").contains("firmware"));
    }

    #[test]
    fn a_refused_user_is_told_the_group() {
        let me = geteuid().as_raw();
        let root = host(&[("etc/passwd", &format!("me:x:{me}:1::/:/bin/sh"))]);
        // A group that this user is surely not in.
        let gid = 54_321;
        let told = |mode, group: &str| {
            fs::create_dir_all(root.path().join("etc")).unwrap();
            fs::write(root.path().join("etc/group"), group).unwrap();
            cure(refused(root.path(), mode, gid))
        };
        assert!(told(0o660, "kvm:x:54321:other").contains("usermod -aG kvm $USER"));
        assert!(told(0o660, "virt:x:54321:other,me").contains("log out and in again"));
        assert!(told(0o600, "kvm:x:54321:").contains("chmod 660"));
        assert!(
            cure(refused(root.path(), 0o660, getegid().as_raw())).contains("security module")
                || getegid().is_root()
        );
    }
}
