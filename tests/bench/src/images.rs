//! Guests from an image: a whole run of `true`, `true` in a running guest, and the memory that a guest gives back.

use std::{
    fs,
    io::{Read, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use hv_agent_protocol::{AgentMessage, HostMessage, Outgoing, PORT, Reader, Start, Status};
use hv_boot_tests::{Host, Kernel};
use tempfile::TempDir;

use crate::Figures;

/// What `hv` gives kernels of guests from images; its rival gets the same.
const WORDS: &str = "quiet panic=-1 cryptomgr.notests page_reporting.page_reporting_order=5";

const NAME: &str = "bench";

/// Commands in the running guest for each run.
const COMMANDS: usize = 20;
/// Processes that the guest starts for each run.
const PROCESSES: u32 = 100;

/// What the guest frees.
const FREED: u64 = 512 << 20;
/// How long the host waits for it.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) fn measure(runs: usize, host: Host) -> Result<()> {
    let place = Place::new(host)?;
    run_of_true(&place, runs)?;
    println!();
    true_in_a_guest(&place, runs)?;
    println!();
    memory_back(&place)
}

/// Folders of their own for a user of `hv` who has one kernel and one image.
pub(crate) struct Place {
    directory: TempDir,
    host: Host,
}

impl Place {
    fn new(host: Host) -> Result<Self> {
        let place = Self::empty(host)?;
        let (kernel, arch) = match host {
            Host::Emulated => ("arm64-trixie-backports-cloud", "aarch64"),
            _ => ("trixie-backports-cloud", "x86_64"),
        };
        let kernel = Kernel::named(kernel)?.packaged();
        let folder = kernel.parent().context("a kernel is in a folder")?;
        let release = fs::read_to_string(folder.join("release"))?;
        let modules = folder.join("modules/lib/modules").join(release.trim());
        succeed(place.hv().args(["kernel", "import"]).arg(&kernel).arg("--modules").arg(modules))?;
        succeed(&mut place.import(arch)?)?;
        Ok(place)
    }

    /// A user who has nothing yet.
    pub(crate) fn empty(host: Host) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        // The box reads the host's files through 9p, at each start anew.
        fs::copy(host.hv()?, directory.path().join("hv"))?;
        fs::create_dir(directory.path().join("run"))?;
        Ok(Self { directory, host })
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn hv(&self) -> Command {
        let mut command = Command::new(self.path().join("hv"));
        command
            .env("XDG_DATA_HOME", self.path().join("data"))
            .env("XDG_RUNTIME_DIR", self.path().join("run"));
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command
    }

    /// Makes the cached image that `debian` stands for.
    pub(crate) fn import(&self, arch: &str) -> Result<Command> {
        let mut command = self.hv();
        command.args(["image", "import"]).arg(images()?.join(format!("docker-{arch}.tar")));
        command.args(["debian", "--arch", arch]);
        Ok(command)
    }

    fn run(&self, memory: &str) -> Command {
        let mut command = self.hv();
        command.args(["run", "--memory", memory]);
        if self.host == Host::Emulated {
            command.args(["--accel", "emulated"]);
        }
        command
    }

    fn exec(&self, words: &[&str]) -> Command {
        let mut command = self.hv();
        command.args(["exec", NAME, "--"]).args(words);
        command
    }

    /// The packaged kernel that all guests here boot.
    fn kernel(&self) -> Result<PathBuf> {
        let entries = fs::read_dir(self.path().join("data/hv/kernels"))?.filter_map(Result::ok);
        let mut images = entries.map(|entry| entry.path().join("image"));
        images.find(|image| image.exists()).context("no kernel was kept")
    }
}

/// The folder that `ci/images` makes.
pub(crate) fn images() -> Result<PathBuf> {
    let kernels = Kernel::named("trixie-backports-cloud")?.packaged();
    let cache = kernels.ancestors().nth(3).context("kernels are in a cache")?;
    let images = cache.join("images/debian-network");
    ensure!(images.exists(), "{} is not there: run `ci/images`", images.display());
    Ok(images)
}

/// Runs a command that must succeed; how long it took.
pub(crate) fn succeed(command: &mut Command) -> Result<Duration> {
    let start = Instant::now();
    let status = command.status().with_context(|| format!("cannot run {command:?}"))?;
    let time = start.elapsed();
    ensure!(status.success(), "{command:?} ended with {status}");
    Ok(time)
}

/// The image's guest against one of the same kernel that does nothing at all.
fn run_of_true(place: &Place, runs: usize) -> Result<()> {
    let kernel = place.kernel()?;
    let initrd = place.path().join("initrd");
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let arch = if place.host == Host::Emulated { "aarch64" } else { "x86_64" };
    let script = repository.join("tests/bench/guest/power-off");
    succeed(Command::new(repository.join("ci/initrd")).args(["--arch", arch]).arg(script).arg(&initrd))?;
    let mut figures: [Figures; 3] = Default::default();
    for _ in 0..runs {
        let ours = succeed(place.run("512M").args(["debian", "--", "true"]))?.as_secs_f64();
        let bare = |words: &str| {
            let mut command = place.run("512M");
            command.arg("--kernel").arg(&kernel).arg("--initrd").arg(&initrd).args(["--append", words]);
            succeed(&mut command).map(|time| time.as_secs_f64())
        };
        figures.iter_mut().zip([ours, bare(WORDS)?, bare("quiet")?]).for_each(|(all, one)| all.push(one));
    }
    println!("| exec to exit | median, s (range) | `true` in the image, of that |");
    println!("| --- | --- | --- |");
    let names = ["`hv run debian -- true`", "an /init that powers off, same words", "the same, only `quiet`"];
    let ours = figures[0].median();
    for (name, figures) in names.into_iter().zip(figures) {
        let ((low, high), median) = (figures.range(), figures.median());
        println!("| {name} | {median:.2} ({low:.2}–{high:.2}) | {:.2} |", ours / median);
    }
    Ok(())
}

/// A guest in the background, ended with this.
struct Background<'a>(&'a Place);

impl<'a> Background<'a> {
    fn start(place: &'a Place, memory: &str) -> Result<Self> {
        succeed(place.run(memory).args(["-d", "--name", NAME, "debian", "--", "sleep", "3600"]))?;
        Ok(Self(place))
    }

    fn folder(&self) -> PathBuf {
        self.0.path().join("run/hv").join(NAME)
    }
}

impl Drop for Background<'_> {
    fn drop(&mut self) {
        for word in ["kill", "rm"] {
            let _ = self.0.hv().args([word, NAME]).stderr(Stdio::null()).status();
        }
    }
}

/// A command in a running guest against what it costs the guest itself.
fn true_in_a_guest(place: &Place, runs: usize) -> Result<()> {
    let guest = Background::start(place, "512M")?;
    let socket = guest.folder().join("vsock.sock");
    let mut figures: [Figures; 3] = Default::default();
    for _ in 0..runs {
        for _ in 0..COMMANDS {
            figures[0].push(succeed(&mut place.exec(&["true"]))?.as_secs_f64() * 1e3);
        }
        for _ in 0..COMMANDS {
            let start = Instant::now();
            session(&socket)?;
            figures[1].push(start.elapsed().as_secs_f64() * 1e3);
        }
        figures[2].push(in_the_guest(place)? * 1e3);
    }
    println!("| `true` in a running guest | median, ms (range) | of fork and exec |");
    println!("| --- | --- | --- |");
    let names = ["`hv exec`, exec to exit", "a session alone", "fork and exec in the guest, by bash"];
    let own = figures[2].median();
    for (name, figures) in names.into_iter().zip(figures) {
        let ((low, high), median) = (figures.range(), figures.median());
        println!("| {name} | {median:.2} ({low:.2}–{high:.2}) | {:.2} |", median / own);
    }
    Ok(())
}

/// What `hv exec` does between its own start and end.
fn session(socket: &Path) -> Result<()> {
    let mut stream = UnixStream::connect(socket)?;
    writeln!(stream, "CONNECT {PORT}")?;
    let mut byte = [0];
    while byte != *b"\n" {
        stream.read_exact(&mut byte)?;
    }
    let start = Start { arguments: vec!["true".to_owned()], ..Start::default() };
    let mut outgoing = Outgoing::default();
    outgoing.push(&HostMessage::Start(start))?;
    outgoing.write_to(&stream)?;
    let mut reader = Reader::new(stream);
    loop {
        match reader.receive()? {
            Some(AgentMessage::Exited(status)) => {
                ensure!(status == Status::Code(0), "`true` ended with {status:?}");
                return Ok(());
            }
            Some(AgentMessage::Failed { reason, .. }) => bail!("`true` was not run: {reason}"),
            Some(_) => {}
            None => bail!("the agent left before `true` ended"),
        }
    }
}

/// Seconds for a fork, an exec of `true`, and a wait.
fn in_the_guest(place: &Place) -> Result<f64> {
    let script = format!("TIMEFORMAT=%R; time for ((i = 0; i < {PROCESSES}; i++)); do /bin/true; done");
    let output = place.exec(&["bash", "-c", &script]).stderr(Stdio::piped()).output()?;
    let text = String::from_utf8_lossy(&output.stderr);
    let seconds: f64 = text.trim().parse().with_context(|| format!("the guest's bash says {text:?}"))?;
    Ok(seconds / f64::from(PROCESSES))
}

/// Fills memory in a guest, frees it, and sees what the host has back.
fn memory_back(place: &Place) -> Result<()> {
    let guest = Background::start(place, "1G")?;
    let pid: u32 = fs::read_to_string(guest.folder().join("pid"))?.trim().parse()?;
    let fill = format!("head -c {FREED} /dev/zero >/dev/shm/full");
    succeed(&mut place.exec(&["mount", "-o", "remount,size=90%", "/dev/shm"]))?;
    succeed(&mut place.exec(&["sh", "-c", &fill]))?;
    let full = resident(pid)?;
    succeed(&mut place.exec(&["rm", "/dev/shm/full"]))?;
    let start = Instant::now();
    let mut enough = None;
    while start.elapsed() < PATIENCE {
        if enough.is_none() && full.saturating_sub(resident(pid)?) >= 450 {
            enough = Some(start.elapsed());
        }
        thread::sleep(Duration::from_millis(100));
    }
    let left = resident(pid)?;
    println!("| the VMM's resident memory | MiB |");
    println!("| --- | --- |");
    println!("| the guest holds {} MiB | {full} |", FREED >> 20);
    println!("| {} s after it freed them | {left} |", PATIENCE.as_secs());
    println!("| back on the host | {} |", full.saturating_sub(left));
    let when = enough.map_or("not".to_owned(), |time| format!("after {:.1} s", time.as_secs_f64()));
    println!("\n450 MiB were back {when}.");
    Ok(())
}

/// MiB.
fn resident(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("the guest is gone")?;
    let kib: u64 = line.trim_end_matches("kB").trim().parse()?;
    Ok(kib >> 10)
}
