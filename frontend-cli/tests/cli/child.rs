//! `hv` as a child process: how it is started, what is expected of it, and a folder that it must not change.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs::{self, File},
    os::unix::{
        fs::{MetadataExt, PermissionsExt},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use rustix::process::geteuid;

/// Codes of `hv run`.
pub(crate) const USAGE: i32 = 2;
pub(crate) const FAILED: i32 = 125;

/// Nobody's user and group, who may do nothing in particular.
const NOBODY: u32 = 65_534;

/// The `hv` under test, without input and with a plain environment.
pub(crate) fn hv(words: &[&str]) -> Command {
    let mut command = plain(env!("CARGO_BIN_EXE_hv"));
    command.args(words);
    command
}

fn plain(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.stdin(Stdio::null()).env_remove("HV_LOG");
    command
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Runs `command` and returns its only line on standard error, checked to be one.
pub(crate) fn refusal(command: &mut Command, code: i32) -> String {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let stderr = String::from_utf8(stderr).unwrap();
    assert_eq!(status.code(), Some(code), "{command:?}: {stderr}");
    assert_eq!(stderr.lines().count(), 1, "{command:?}: {stderr}");
    assert!(stderr.starts_with("hv: ") && stderr.ends_with('\n'), "{command:?}: {stderr}");
    assert_eq!(String::from_utf8_lossy(&stdout), "", "{command:?}");
    stderr
}

/// A folder with good and bad files, that everybody may read.
pub(crate) struct Folder {
    root: tempfile::TempDir,
    /// Holds a copy of `hv`: other users may not look into the folder where Cargo built it.
    programs: tempfile::TempDir,
}

/// What a file is: kind and mode, size, times of change, content.
type Fingerprint = (u32, u64, (i64, i64), Vec<u8>);

impl Folder {
    pub(crate) fn new() -> Self {
        let folder = Self { root: tempfile::tempdir().unwrap(), programs: tempfile::tempdir().unwrap() };
        set_mode(folder.root.path(), 0o755);
        set_mode(folder.programs.path(), 0o755);
        fs::copy(env!("CARGO_BIN_EXE_hv"), folder.programs.path().join("hv")).unwrap();
        folder.write("kernel", b"not a kernel at all, but a file that can be opened");
        folder.write("initrd", b"not an initrd");
        folder.write("disk", &[0x5a; 4096]);
        folder.write("empty", b"");
        folder.write("odd", &[0x5a; 1000]);
        folder.write("secret", &[0x5a; 512]);
        fs::create_dir(folder.path("folder")).unwrap();
        set_mode(&folder.path("secret"), 0o000);
        folder
    }

    fn write(&self, name: &str, content: &[u8]) {
        fs::write(self.path(name), content).unwrap();
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    pub(crate) fn open(&self, name: &str) -> File {
        File::options().read(true).write(true).open(self.path(name)).unwrap()
    }

    /// `hv run` in this folder with these words, as a user who is not root: root is refused nothing.
    pub(crate) fn run(&self, words: &[&str]) -> Command {
        let mut command = plain(self.programs.path().join("hv"));
        command.arg("run").args(words).current_dir(self.root.path());
        if geteuid().is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        command
    }

    /// All files below.
    pub(crate) fn fingerprints(&self) -> BTreeMap<PathBuf, Fingerprint> {
        let entries = fs::read_dir(self.root.path()).unwrap().map(|entry| entry.unwrap().path());
        entries.map(|path| (path.clone(), fingerprint(&path))).collect()
    }
}

fn fingerprint(path: &Path) -> Fingerprint {
    let metadata = path.metadata().unwrap();
    // The secret of another user is compared by its times alone.
    let content = fs::read(path).unwrap_or_default();
    (metadata.mode(), metadata.size(), (metadata.mtime(), metadata.mtime_nsec()), content)
}
