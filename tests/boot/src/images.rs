//! Guests from images: `hv` with folders of its own, the image and kernels of the cache in them, and what it says.

mod registry;
mod terminal;

pub use registry::Registry;
pub use terminal::Terminal;

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs::{self, DirBuilder},
    io::{Read, Write},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    sync::{Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tempfile::TempDir;

use crate::{Host, Kernel, PATIENCE, cache, repository};

/// The guest that most tests run their commands in.
pub const SHARED: &str = "shared";

/// What tests with images run on, and with which kernels of `ci/kernels`.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    /// The hypervisor.
    pub host: Host,
    /// The guest's, as `uname -m` has it.
    pub architecture: &'static str,
    /// Bookworm's kernel.
    pub old: &'static str,
    /// The newest kernel.
    pub new: &'static str,
}

impl Place {
    const X86_64: Self =
        Self { host: Host::Native, architecture: "x86_64", old: "bookworm", new: "trixie-backports-cloud" };
    const ARM64: Self = Self {
        host: Host::Native,
        architecture: "aarch64",
        old: "arm64-bookworm",
        new: "arm64-trixie-backports-cloud",
    };
    /// This host's own hypervisor.
    pub const NATIVE: Self = if cfg!(target_arch = "x86_64") { Self::X86_64 } else { Self::ARM64 };
    /// The backend for Macs on the simulation of its framework.
    pub const EMULATED: Self = Self { host: Host::Emulated, ..Self::ARM64 };
}

/// What a `hv` with folders of its own knows: the image `debian` and the kernels `new`, which is the default, and `old`.
/// Its guests end with it.
#[derive(Debug)]
pub struct Home {
    host: Host,
    architecture: &'static str,
    folder: TempDir,
    shares: Mutex<bool>,
}

impl Home {
    /// Imports the image of `ci/images` for the place's guests, and its kernels.
    ///
    /// # Errors
    /// They are not there, or an import failed.
    pub fn new(place: Place) -> Result<Self> {
        let Place { host, architecture, old, new } = place;
        // Not where TMPDIR says: the paths of sockets are short.
        let folder = tempfile::Builder::new().prefix("hv").tempdir_in("/tmp")?;
        let home = Self { host, architecture, folder, shares: Mutex::new(false) };
        for name in ["data", "run", "tmp"] {
            DirBuilder::new().mode(0o700).create(home.folder.path().join(name))?;
        }
        for (name, kernel) in [("new", new), ("old", old)] {
            let folder = Kernel::named(kernel)?.folder().to_owned();
            home.say(home.hv(["kernel", "import", "--name", name]).arg(folder))?.code(0)?;
        }
        home.say(&mut home.hv(["kernel", "default", "new"]))?.code(0)?;
        home.import(&images()?.join("layout"), "debian")?.code(0)?;
        Ok(home)
    }

    /// The architecture of its guests.
    pub fn architecture(&self) -> &'static str {
        self.architecture
    }

    /// `hv WORDS`.
    ///
    /// # Panics
    /// There is no `hv`, which `new` would have found.
    pub fn hv<S: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(self.host.hv().expect("the imports ran it"));
        command.args(words).current_dir(self.folder.path());
        command.env("XDG_DATA_HOME", self.folder.path().join("data"));
        command.env("XDG_RUNTIME_DIR", self.folder.path().join("run"));
        command.env("TMPDIR", self.folder.path().join("tmp"));
        command
    }

    /// `hv run OPTIONS`, to be followed by an image and a command.
    pub fn run(&self, options: &[&str]) -> Command {
        self.run_with("384M", options)
    }

    /// The same with so much memory.
    pub fn run_with(&self, memory: &str, options: &[&str]) -> Command {
        let mut command = self.hv(["run", "--memory", memory]);
        if self.host == Host::Emulated {
            command.args(["--accel", "emulated"]);
        }
        command.args(options);
        command
    }

    /// `hv run OPTIONS debian -- sh -c SCRIPT`.
    pub fn run_script(&self, options: &[&str], script: &str) -> Command {
        let mut command = self.run(options);
        command.args(["debian", "--", "sh", "-c", script]);
        command
    }

    /// `hv exec OPTIONS NAME COMMAND`.
    pub fn exec_in(&self, name: &str, options: &[&str], command: &[&str]) -> Command {
        let mut exec = self.hv(["exec"]);
        exec.args(options).arg(name).arg("--").args(command);
        exec
    }

    /// `hv exec OPTIONS shared COMMAND`; the first one starts the guest.
    ///
    /// # Errors
    /// It does not start.
    pub fn exec(&self, options: &[&str], command: &[&str]) -> Result<Command> {
        let mut shares = self.shares.lock().unwrap_or_else(PoisonError::into_inner);
        if !*shares {
            // If nobody ends it, it ends itself.
            let options = ["--detach", "--rm", "--name", SHARED, "--timeout", "30m"];
            self.say(&mut self.run_script(&options, "exec sleep 100000"))?.code(0)?;
            *shares = true;
        }
        Ok(self.exec_in(SHARED, options, command))
    }

    /// `hv image import` for the architecture of its guests.
    ///
    /// # Errors
    /// `hv` cannot be run.
    pub fn import(&self, path: &Path, name: &str) -> Result<Said> {
        let words = ["image", "import", "--arch", self.architecture];
        self.say(self.hv(words).arg(path).arg(name))
    }

    /// What a command says, without input.
    ///
    /// # Errors
    /// It cannot be run, or does not end in time.
    pub fn say(&self, command: &mut Command) -> Result<Said> {
        said(command, b"")
    }

    /// What `hv WORDS` says as JSON.
    ///
    /// # Errors
    /// It fails.
    pub fn json(&self, words: &[&str]) -> Result<Value> {
        Ok(serde_json::from_slice(&self.say(&mut self.hv(words))?.code(0)?.stdout)?)
    }

    /// What `hv ps` says of a guest, ended ones included.
    ///
    /// # Errors
    /// It is not listed.
    pub fn listed(&self, name: &str) -> Result<Value> {
        let listed = self.json(&["ps", "--all", "--json"])?;
        let found = listed.as_array().into_iter().flatten().find(|guest| guest["name"] == name).cloned();
        found.with_context(|| format!("guest {name} is not among {listed}"))
    }

    /// The process of a guest that runs.
    ///
    /// # Errors
    /// It is not listed, or does not run.
    pub fn process(&self, name: &str) -> Result<u32> {
        let listed = self.listed(name)?;
        let pid = listed["pid"].as_u64().with_context(|| format!("guest {name} has no process: {listed}"))?;
        Ok(u32::try_from(pid)?)
    }

    /// All of its folders.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Ends and forgets all guests.
    pub fn end_guests(&self) {
        let Ok(Value::Array(guests)) = self.json(&["ps", "--all", "--json"]) else { return };
        for name in guests.iter().filter_map(|guest| guest["name"].as_str()) {
            let _ = self.say(&mut self.hv(["rm", "--force", name]));
        }
    }

    /// The folder of a guest that is kept.
    pub fn kept(&self, name: &str) -> PathBuf {
        self.data().join("guests").join(name)
    }

    /// What `hv` keeps.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data/hv")
    }

    /// Paths of all that `hv` has in its folders, those for temporary files included.
    ///
    /// # Errors
    /// A folder cannot be read.
    pub fn files(&self) -> Result<BTreeSet<PathBuf>> {
        let (mut found, mut folders) = (BTreeSet::new(), vec![self.folder.path().to_owned()]);
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
                let entry = entry?;
                if entry.file_type()?.is_dir() {
                    folders.push(entry.path());
                }
                found.insert(entry.path());
            }
        }
        Ok(found)
    }

    /// The processes that `hv` has here, by number, with their command lines: who was given its folders.
    ///
    /// # Errors
    /// There is no `/proc`.
    pub fn processes(&self) -> Result<Vec<(u32, String)>> {
        let own = format!("XDG_RUNTIME_DIR={}", self.folder.path().join("run").display());
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc")? {
            let entry = entry?.path();
            let Some(pid) = entry.file_name().and_then(OsStr::to_str).and_then(|name| name.parse().ok())
            else {
                continue;
            };
            // One that has just ended has neither, and a zombie no words.
            let Ok(variables) = fs::read(entry.join("environ")) else { continue };
            let Ok(words) = fs::read(entry.join("cmdline")) else { continue };
            if variables.split(|byte| *byte == 0).any(|variable| variable == own.as_bytes()) {
                found.push((pid, String::from_utf8_lossy(&words).trim_end_matches('\0').replace('\0', " ")));
            }
        }
        Ok(found)
    }

    /// A static busybox for its guests.
    ///
    /// # Errors
    /// There is none.
    pub fn busybox(&self) -> Result<PathBuf> {
        let found = said(Command::new(repository().join("ci/busybox")).arg(self.architecture), b"")?;
        Ok(found.code(0)?.text().into())
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        self.end_guests();
    }
}

/// Where `ci/images` keeps its images.
///
/// # Errors
/// They were not made.
pub fn images() -> Result<PathBuf> {
    let folder = cache()?.join("images/debian-network");
    ensure!(folder.exists(), "{} is not there: run `ci/images`", folder.display());
    Ok(folder)
}

/// A program that has ended.
#[derive(Debug)]
pub struct Said {
    /// How.
    pub status: ExitStatus,
    /// All of its standard output.
    pub stdout: Vec<u8>,
    /// All of its standard error.
    pub stderr: String,
}

impl Said {
    /// Checks the exit code.
    ///
    /// # Errors
    /// It is another one.
    pub fn code(self, expected: i32) -> Result<Self> {
        if self.status.code() != Some(expected) {
            let text = self.text();
            let end: String = text.chars().skip(text.chars().count().saturating_sub(2000)).collect();
            bail!("it ended with {} instead of {expected}:\n{end}\n{}", self.status, self.stderr);
        }
        Ok(self)
    }

    /// Its standard output as one trimmed text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).trim().to_owned()
    }
}

/// What a command says of this input.
///
/// # Errors
/// It cannot be run, or does not end in time.
pub fn said(command: &mut Command, input: &[u8]) -> Result<Said> {
    command.stdin(if input.is_empty() { Stdio::null() } else { Stdio::piped() });
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("cannot run {command:?}"))?;
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let deadline = Instant::now() + PATIENCE;
    thread::scope(|scope| {
        // A command need not read all of its input.
        scope.spawn(move || stdin.map(|mut stdin| stdin.write_all(input)));
        let stdout = scope.spawn(move || all_of(stdout));
        let stderr = scope.spawn(move || all_of(stderr));
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break Ok(status);
            }
            if Instant::now() > deadline {
                child.kill()?;
                child.wait()?;
                break Err(());
            }
            thread::sleep(Duration::from_millis(5));
        };
        let stdout = stdout.join().unwrap_or_default();
        let stderr = String::from_utf8_lossy(&stderr.join().unwrap_or_default()).into_owned();
        match status {
            Ok(status) => Ok(Said { status, stdout, stderr }),
            Err(()) => bail!("{command:?} did not end, but said {} bytes and {stderr:?}", stdout.len()),
        }
    })
}

fn all_of(stream: Option<impl Read>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let _ = stream.map(|mut stream| stream.read_to_end(&mut bytes));
    bytes
}
