//! Guests for the boot tests: kernels, initial RAM disks, disk images, and the `hv` binary as a child process.

pub mod attack;
pub mod images;
pub mod machine;
pub mod world;

use std::{
    env, fs,
    io::{BufRead, BufReader, Read, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, ExitStatus, Output, Stdio},
    sync::{Arc, Mutex, OnceLock, mpsc},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

/// Long enough for any guest here on a slow, shared machine.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// What runs the guests of a test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Host {
    /// The hypervisor of this machine.
    Native,
    /// The backend for Macs on the simulation of its framework.
    Emulated,
    /// KVM of an emulated arm64 machine: each guest has a box of its own (`ci/box --arch aarch64`).
    KvmArm64,
}

impl Host {
    /// The `hv` to test: the file that the host's variable names, or a release build of this workspace.
    ///
    /// # Errors
    /// There is none.
    pub fn hv(self) -> Result<PathBuf> {
        let (variable, built) = match self {
            Self::Native => ("HV_BINARY", "release/hv"),
            Self::Emulated => ("HV_EMULATOR_BINARY", "release/hv-emulator"),
            Self::KvmArm64 => ("HV_ARM64_BINARY", "aarch64-unknown-linux-musl/release/hv"),
        };
        let path = match env::var_os(variable) {
            Some(path) => PathBuf::from(path),
            None => {
                // This is target/PROFILE/deps/NAME or target/PROFILE/NAME.
                let own = env::current_exe()?;
                let built = |folder: &Path| folder.join(built);
                let found = own.ancestors().skip(2).take(2).map(built).find(|path| path.exists());
                found.with_context(|| format!("no hv beside this test, and {variable} names none"))?
            }
        };
        ensure!(path.exists(), "{} does not exist", path.display());
        Ok(path)
    }

    /// Why guests of stock kernels cannot run there; for this machine in the words of `hv doctor`.
    pub fn why_not(self) -> Option<String> {
        let binary = match self.hv() {
            Ok(binary) => binary,
            Err(error) => return Some(error.to_string()),
        };
        if self != Self::Native {
            return None;
        }
        let output = Command::new(binary).arg("doctor").output().ok()?;
        let words = || String::from_utf8_lossy(&output.stdout).trim().replace('\n', "; ");
        (!output.status.success()).then(words)
    }

    /// `hv run` on this host, which may write in the directory of `disk`.
    fn command(self, disk: Option<&Disk>) -> Result<Command> {
        let hv = self.hv()?;
        if self != Self::KvmArm64 {
            let mut command = Command::new(hv);
            command.arg("run");
            if self == Self::Emulated {
                command.args(["--accel", "emulated"]);
            }
            return Ok(command);
        }
        let mut command = Command::new(repository().join("ci/box"));
        if let Some(disk) = disk {
            command.env("HV_BOX_OUT", disk.directory.path());
        }
        command.args(["--arch", "aarch64", "--cpus", "2", "--memory", "2G", "--"]).arg(hv).arg("run");
        Ok(command)
    }
}

/// Looks until something is so.
///
/// # Errors
/// It is not, in time, or cannot be looked at.
pub fn until(what: &str, mut is_so: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !is_so()? {
        ensure!(Instant::now() < deadline, "not in {PATIENCE:?}: {what}");
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// The root of this repository.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Where the scripts of `ci` keep what they fetched and made.
///
/// # Errors
/// No variable says where.
pub(crate) fn cache() -> Result<PathBuf> {
    Ok(match (env::var_os("HV_CACHE"), env::var_os("XDG_CACHE_HOME"), env::var_os("HOME")) {
        (Some(cache), _, _) => PathBuf::from(cache),
        (None, Some(cache), _) => Path::new(&cache).join("hv"),
        (None, None, Some(home)) => Path::new(&home).join(".cache/hv"),
        (None, None, None) => bail!("neither HV_CACHE, XDG_CACHE_HOME nor HOME is set"),
    })
}

/// A distribution kernel of `ci/kernels`.
#[derive(Debug, Clone)]
pub struct Kernel {
    directory: PathBuf,
}

impl Kernel {
    /// The kernel that `ci/kernels` keeps under `name`.
    ///
    /// # Errors
    /// It was not fetched.
    pub fn named(name: &str) -> Result<Self> {
        let directory = cache()?.join("kernels").join(name);
        ensure!(directory.exists(), "{} is not there: run `ci/kernels`", directory.display());
        Ok(Self { directory })
    }

    /// All of it: the kernel, its configuration and its modules.
    pub fn folder(&self) -> &Path {
        &self.directory
    }

    /// The kernel as it is packaged: a bzImage, an Image, or a packed one.
    pub fn packaged(&self) -> PathBuf {
        self.directory.join("vmlinuz")
    }

    /// The ELF inside a bzImage.
    pub fn elf(&self) -> PathBuf {
        self.directory.join("vmlinux")
    }

    /// An initial RAM disk with the init of these tests and `modules`, made once for each kernel and list.
    ///
    /// # Errors
    /// `ci/initrd` failed.
    pub fn initrd(&self, modules: &str) -> Result<PathBuf> {
        static MADE: OnceLock<(TempDir, Mutex<Vec<PathBuf>>)> = OnceLock::new();
        let (directory, made) = MADE
            .get_or_init(|| (TempDir::new().expect("a temporary directory can be made"), Mutex::default()));
        let kernel = self.directory.file_name().unwrap_or_default().to_string_lossy();
        let architecture = if kernel.starts_with("arm64-") { "aarch64" } else { "x86_64" };
        let path = directory.path().join(format!("{kernel}-{}", modules.replace(' ', "-")));
        let mut made = made.lock().unwrap();
        if !made.contains(&path) {
            let mut command = Command::new(repository().join("ci/initrd"));
            command.args(["--arch", architecture, "--modules", modules, "--kernel"]).arg(&self.directory);
            command.arg(repository().join("tests/boot/guest/init")).arg(&path);
            let output = command.output().context("cannot run ci/initrd")?;
            ensure!(output.status.success(), "ci/initrd: {}", String::from_utf8_lossy(&output.stderr));
            made.push(path.clone());
        }
        Ok(path)
    }
}

/// A disk image in a directory that goes away with it.
#[derive(Debug)]
pub struct Disk {
    directory: TempDir,
}

impl Disk {
    /// An empty ext4 of `mebibytes`.
    ///
    /// # Errors
    /// `mkfs.ext4` failed.
    pub fn ext4(mebibytes: u32) -> Result<Self> {
        let disk = Self::with(&[])?;
        fs::File::options().write(true).open(disk.path())?.set_len(u64::from(mebibytes) << 20)?;
        tool(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(disk.path()))?;
        Ok(disk)
    }

    /// An image of these bytes.
    ///
    /// # Errors
    /// There is no room for it.
    pub fn with(bytes: &[u8]) -> Result<Self> {
        let disk = Self { directory: TempDir::new()? };
        fs::write(disk.path(), bytes)?;
        Ok(disk)
    }

    /// The image.
    pub fn path(&self) -> PathBuf {
        self.directory.path().join("disk.img")
    }

    /// A file of the ext4 on it, read from outside.
    ///
    /// # Errors
    /// There is no such file or no such file system.
    pub fn file(&self, name: &str) -> Result<Vec<u8>> {
        ext4::file(&self.path(), name)
    }

    /// A file of the ext4 on it as one trimmed text.
    ///
    /// # Errors
    /// As [`file`](Self::file).
    pub fn text(&self, name: &str) -> Result<String> {
        Ok(String::from_utf8(self.file(name)?)?.trim().to_owned())
    }

    /// Checks the ext4 on it from outside.
    ///
    /// # Errors
    /// `e2fsck` found something to mend.
    pub fn check(&self) -> Result<()> {
        ext4::check(&self.path())
    }

    /// Replays the journal, as a mount after a crash does.
    ///
    /// # Errors
    /// `e2fsck` could not mend it.
    pub fn replay(&self) -> Result<()> {
        ext4::replay(&self.path())
    }
}

/// Images of ext4, looked at from outside.
pub mod ext4 {
    use super::{Command, Path, Result, ensure, tool};

    /// A file on it.
    ///
    /// # Errors
    /// There is no such file or no such file system.
    pub fn file(image: &Path, name: &str) -> Result<Vec<u8>> {
        Ok(tool(Command::new("debugfs").args(["-R", &format!("cat /{name}")]).arg(image))?.stdout)
    }

    /// Checks it.
    ///
    /// # Errors
    /// `e2fsck` found something to mend.
    pub fn check(image: &Path) -> Result<()> {
        tool(Command::new("e2fsck").args(["-f", "-n"]).arg(image)).map(drop)
    }

    /// Replays the journal, as a mount after a crash does.
    ///
    /// # Errors
    /// `e2fsck` could not mend it.
    pub fn replay(image: &Path) -> Result<()> {
        let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
        let mut command = Command::new("e2fsck");
        let status = command.env("PATH", path).args(["-f", "-p"]).arg(image).output()?.status;
        ensure!(status.code() == Some(0) || status.code() == Some(1), "e2fsck -p ended with {status}");
        Ok(())
    }
}

/// User and system time in a line of proc(5)'s stat.
///
/// # Errors
/// It is no such line.
pub fn processor_time(stat: &str) -> Result<Duration> {
    // The name may hold anything; fields 14 and 15 are utime and stime, and behind the name comes the third.
    let (_, fields) = stat.rsplit_once(") ").context("no name in stat")?;
    let ticks = fields.split(' ').skip(11).take(2).map(str::parse::<u64>).sum::<Result<u64, _>>()?;
    Ok(Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second()))
}

/// What the guest's `pattern COUNT` writes.
pub fn pattern(count: u32) -> Vec<u8> {
    let width = count.to_string().len();
    (1..=count).flat_map(|number| format!("{number:0width$}\n").into_bytes()).collect()
}

fn tool(command: &mut Command) -> Result<Output> {
    let path = format!("{}:/usr/sbin:/sbin", env::var("PATH").unwrap_or_default());
    let output = command.env("PATH", path).output().with_context(|| format!("cannot run {command:?}"))?;
    ensure!(
        output.status.success(),
        "{command:?} ended with {}: {}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(output)
}

/// A running `hv`. Killed when dropped.
#[derive(Debug)]
pub struct Guest {
    child: Child,
    stdin: Option<ChildStdin>,
    seen: Arc<Mutex<String>>,
    news: mpsc::Receiver<()>,
    stderr: Option<thread::JoinHandle<String>>,
}

/// A `hv` that has ended.
#[derive(Debug)]
pub struct Ended {
    /// How.
    pub status: ExitStatus,
    /// All of its standard output.
    pub stdout: String,
    /// All of its standard error.
    pub stderr: String,
}

impl Guest {
    /// Starts `hv run ARGUMENTS` on `host`; `disk` is one that the arguments name.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start<S: AsRef<std::ffi::OsStr>>(
        host: Host,
        arguments: impl IntoIterator<Item = S>,
        disk: Option<&Disk>,
    ) -> Result<Self> {
        let mut command = host.command(disk)?;
        command.args(arguments);
        Self::spawn(command)
    }

    /// Starts this command of `hv`.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn spawn(mut command: Command) -> Result<Self> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("cannot run {command:?}"))?;
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().context("no standard output")?;
        let mut stderr = child.stderr.take().context("no standard error")?;
        let seen = Arc::new(Mutex::new(String::new()));
        let (tell, news) = mpsc::channel();
        thread::spawn({
            let seen = Arc::clone(&seen);
            move || {
                let mut stdout = BufReader::new(stdout);
                let mut line = Vec::new();
                while stdout.read_until(b'\n', &mut line).is_ok_and(|count| count != 0) {
                    seen.lock().unwrap().push_str(&String::from_utf8_lossy(&line));
                    line.clear();
                    let _ = tell.send(());
                }
            }
        });
        let stderr = thread::spawn(move || {
            let mut text = Vec::new();
            let _ = stderr.read_to_end(&mut text);
            String::from_utf8_lossy(&text).into_owned()
        });
        Ok(Self { child, stdin, seen, news, stderr: Some(stderr) })
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until its output holds `text`.
    ///
    /// # Errors
    /// It ended or lost patience before.
    pub fn wait_for(&mut self, text: &str) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if self.seen.lock().unwrap().contains(text) {
                return Ok(());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if self.news.recv_timeout(left).is_err() && !self.seen.lock().unwrap().contains(text) {
                let _ = self.child.kill();
                let stderr = self.stderr.take().and_then(|thread| thread.join().ok()).unwrap_or_default();
                bail!("the guest did not say {text:?}, but:\n{}\n{stderr}", self.seen.lock().unwrap());
            }
        }
    }

    /// Types `text` on its console.
    ///
    /// # Errors
    /// It does not take any.
    pub fn type_text(&mut self, text: &str) -> Result<()> {
        Ok(self.stdin.as_mut().context("standard input is closed")?.write_all(text.as_bytes())?)
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// It has ended.
    pub fn signal(&self, signal: rustix::process::Signal) -> Result<()> {
        let pid = rustix::process::Pid::from_child(&self.child);
        Ok(rustix::process::kill_process(pid, signal)?)
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// It did not end in time.
    pub fn wait(mut self) -> Result<Ended> {
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait()? {
                break status;
            }
            if Instant::now() > deadline {
                let _ = self.child.kill();
                bail!("the guest did not end, but said:\n{}", self.seen.lock().unwrap());
            }
            thread::sleep(Duration::from_millis(20));
        };
        // The reader ends at the end of the output, and its sender with it.
        while self.news.recv().is_ok() {}
        let stdout = self.seen.lock().unwrap().clone();
        let stderr = self.stderr.take().and_then(|thread| thread.join().ok()).unwrap_or_default();
        Ok(Ended { status, stdout, stderr })
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Ended {
    /// Checks the exit code.
    ///
    /// # Errors
    /// It is another one.
    pub fn code(self, expected: i32) -> Result<Self> {
        if self.status.code() != Some(expected) {
            bail!("hv ended with {} instead of {expected}:\n{}\n{}", self.status, self.stdout, self.stderr);
        }
        Ok(self)
    }
}
