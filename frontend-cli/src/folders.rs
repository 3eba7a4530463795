//! The folders that `hv` keeps its things in: data that stays, and what lives as long as a guest runs.

use std::{
    env,
    ffi::OsString,
    fs::{self, DirBuilder},
    io,
    os::unix::{
        fs::{DirBuilderExt, MetadataExt, PermissionsExt},
        net::UnixListener,
    },
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use rustix::process::geteuid;

/// The most bytes of a Unix socket's path that every host takes (104 with a NUL on macOS, 108 on Linux).
pub(crate) const SOCKET_PATH_LIMIT: usize = 103;

/// The permissions of others: none.
const PRIVATE: u32 = 0o700;

/// `$XDG_DATA_HOME/hv`, or what this system has in its place. It need not be there yet.
///
/// # Errors
/// The environment names no home.
pub(crate) fn data() -> anyhow::Result<PathBuf> {
    data_from(|name| env::var_os(name), cfg!(target_os = "macos"))
}

fn data_from(variable: impl Fn(&str) -> Option<OsString>, is_mac: bool) -> anyhow::Result<PathBuf> {
    if let Some(folder) = absolute(variable("XDG_DATA_HOME")) {
        return Ok(folder.join("hv"));
    }
    let Some(home) = absolute(variable("HOME")) else {
        bail!("neither XDG_DATA_HOME nor HOME names a folder to keep guests in; set one of them");
    };
    Ok(home.join(if is_mac { "Library/Application Support/hv" } else { ".local/share/hv" }))
}

/// `$XDG_RUNTIME_DIR/hv`, or a folder of this user's below the one for temporary files; made if it is not there.
///
/// # Errors
/// It cannot be made, or somebody else could have put things there.
pub(crate) fn runtime() -> anyhow::Result<PathBuf> {
    let folder = runtime_from(absolute(env::var_os("XDG_RUNTIME_DIR")), &env::temp_dir());
    make_private(&folder)?;
    Ok(folder)
}

fn runtime_from(named: Option<PathBuf>, temporary: &Path) -> PathBuf {
    match named {
        Some(folder) => folder.join("hv"),
        None => temporary.join(format!("hv-{}", geteuid().as_raw())),
    }
}

/// Makes a folder that only this user may enter, or checks that it is one.
///
/// # Errors
/// It cannot be made, or is not this user's alone.
pub(crate) fn make_private(folder: &Path) -> anyhow::Result<()> {
    let shown = folder.display();
    match DirBuilder::new().mode(PRIVATE).create(folder) {
        Ok(()) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => {
            bail!("folder {shown} cannot be made: {error}; set XDG_RUNTIME_DIR to a folder of yours")
        }
    }
    // A link could be somebody else's, and lead anywhere.
    let metadata = fs::symlink_metadata(folder).with_context(|| format!("folder {shown} cannot be read"))?;
    if !metadata.is_dir() {
        bail!("{shown} is not a folder; remove it");
    }
    if metadata.uid() != geteuid().as_raw() {
        bail!("folder {shown} is another user's; set XDG_RUNTIME_DIR to a folder of yours");
    }
    if metadata.mode() & 0o077 != 0 {
        bail!("folder {shown} is open to other users; make it private: chmod 700 {shown}");
    }
    Ok(())
}

/// Makes a folder, and those above it, that only this user may enter; one that is there stays as it is.
///
/// # Errors
/// It cannot be made.
pub(crate) fn make_all(folder: &Path) -> anyhow::Result<()> {
    let made = DirBuilder::new().mode(PRIVATE).recursive(true).create(folder);
    made.with_context(|| format!("folder {} cannot be made; check the folders above it", folder.display()))
}

/// Listens on a socket that only this user may connect to.
///
/// # Errors
/// It cannot be made.
pub(crate) fn private_socket(path: &Path) -> io::Result<UnixListener> {
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Makes what was changed in `folder` durable.
pub(crate) fn sync(folder: &Path) -> io::Result<()> {
    fs::File::open(folder)?.sync_all()
}

/// The specification of these variables has relative paths ignored.
fn absolute(value: Option<OsString>) -> Option<PathBuf> {
    value.map(PathBuf::from).filter(|path| path.is_absolute())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn data_with(variables: &[(&str, &str)], is_mac: bool) -> anyhow::Result<PathBuf> {
        let find =
            |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into());
        data_from(find, is_mac)
    }

    #[test]
    fn data_is_where_the_system_keeps_it() {
        let home = ("HOME", "/home/a");
        assert_eq!(data_with(&[home], false).unwrap(), Path::new("/home/a/.local/share/hv"));
        assert_eq!(data_with(&[home], true).unwrap(), Path::new("/home/a/Library/Application Support/hv"));
        let named = ("XDG_DATA_HOME", "/data");
        assert_eq!(data_with(&[home, named], false).unwrap(), Path::new("/data/hv"));
        assert_eq!(data_with(&[named], true).unwrap(), Path::new("/data/hv"));
        let relative = ("XDG_DATA_HOME", "data");
        assert_eq!(data_with(&[home, relative], false).unwrap(), Path::new("/home/a/.local/share/hv"));
        assert!(data_with(&[relative], false).unwrap_err().to_string().contains("HOME"));
    }

    #[test]
    fn what_runs_is_below_the_named_folder_or_a_private_one() {
        let temporary = Path::new("/tmp");
        assert_eq!(runtime_from(Some("/run/user/7".into()), temporary), Path::new("/run/user/7/hv"));
        let own = runtime_from(None, temporary);
        assert_eq!(own, temporary.join(format!("hv-{}", geteuid().as_raw())));
    }

    #[test]
    fn only_a_private_folder_of_this_user_will_do() {
        let root = tempfile::tempdir().unwrap();
        let path = |name| root.path().join(name);
        make_private(&path("new")).unwrap();
        assert_eq!(fs::metadata(path("new")).unwrap().mode() & 0o777, PRIVATE);
        make_private(&path("new")).unwrap();
        fs::set_permissions(path("new"), fs::Permissions::from_mode(0o750)).unwrap();
        let line = make_private(&path("new")).unwrap_err().to_string();
        assert!(line.contains("chmod 700"), "{line}");
        symlink(root.path(), path("link")).unwrap();
        assert!(make_private(&path("link")).unwrap_err().to_string().contains("not a folder"));
        assert!(make_private(&path("none/new")).unwrap_err().to_string().contains("XDG_RUNTIME_DIR"));
    }
}
