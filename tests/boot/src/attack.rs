//! The hostile guest (`tests/guests/hostile`) in the real `hv`, and what it must not have done.

use std::{
    collections::BTreeMap,
    fs,
    io::Read,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

use crate::Host;

/// Where the image holds seed, steps and flags.
const PARAMETERS: usize = 64;
/// Where an x86_64 kernel is loaded.
const X86_64_BASE: u64 = 1 << 20;
/// RAM of the guest, which knows it.
const MEMORY: u64 = 64 << 20;
/// So long `hv` itself waits for a guest that hangs, which is an end for a wild one only.
const TIMEOUT: Duration = Duration::from_secs(300);
/// A wild guest often hangs.
const WILD_TIMEOUT: Duration = Duration::from_secs(5);
/// So much later it is `hv` that hangs.
const GRACE: Duration = Duration::from_secs(30);
/// The most memory of `hv` besides the guest's RAM, and on the emulator with its translated code.
const MOST_NATIVE: u64 = 64 << 20;
const MOST_EMULATED: u64 = 256 << 20;
/// The most that `hv` says of a guest, whatever that does.
const MOST_WORDS: usize = 256 << 10;

/// What the guest does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Sets devices up and breaks one thing at a time; must come to its end.
    Structured,
    /// Noise everywhere, also where it ends the guest itself.
    Wild,
    /// As the first, in the place of an image's kernel, with a virtio socket device; the agent's port is left alone.
    Image,
    /// The same, and the agent's port is told nonsense.
    Agent,
}

/// One run.
#[derive(Debug, Clone, Copy)]
pub struct Attack {
    /// What runs it.
    pub host: Host,
    /// What it does.
    pub kind: Kind,
    /// How its devices are found.
    pub transport: &'static str,
    /// How many cores attack.
    pub cpus: u32,
    /// All that it does follows from it, but for what cores and devices do at once.
    pub seed: u64,
    /// Steps of the first core.
    pub steps: u64,
}

/// What a run came to.
#[derive(Debug)]
pub struct Outcome {
    /// How `hv` ended.
    pub code: i32,
    /// What the guest counted, if it came to its end.
    pub counted: BTreeMap<String, u64>,
    /// The most memory that `hv` had.
    pub memory: u64,
}

impl Attack {
    fn is_image(&self) -> bool {
        matches!(self.kind, Kind::Image | Kind::Agent)
    }

    fn architecture(&self) -> &'static str {
        if self.host == Host::Native && cfg!(target_arch = "x86_64") { "x86_64" } else { "aarch64" }
    }

    /// Runs it.
    ///
    /// # Errors
    /// It ended in a way that is not described, or left traces where it may not.
    pub fn run(&self) -> Result<Outcome> {
        self.attempt().with_context(|| format!("{self:?}"))
    }

    fn attempt(&self) -> Result<Outcome> {
        let world = World::new(self)?;
        let before = world.canaries()?;
        let mut child = world.command(self)?.spawn().context("cannot run hv")?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let (ended, stdout, stderr) = thread::scope(|scope| {
            let stdout = scope.spawn(move || end_of(stdout));
            let stderr = scope.spawn(move || end_of(stderr));
            let ended = watch(&mut child, self.timeout() + GRACE);
            (ended, stdout.join().unwrap_or_default(), stderr.join().unwrap_or_default())
        });
        let (status, memory) = ended.with_context(|| format!("it said {stderr:?}"))?;
        let console = if self.is_image() { world.console()? } else { stdout };
        self.judge(status, memory, &console, &stderr)?;
        let after = world.canaries()?;
        for (path, hash) in &before {
            ensure!(after.get(path) == Some(hash), "{} changed", path.display());
        }
        let new: Vec<_> = after.keys().filter(|path| !before.contains_key(*path)).collect();
        ensure!(new.is_empty(), "new files: {new:?}");
        let code = status.code().unwrap_or_default();
        Ok(Outcome { code, counted: counted(&console), memory })
    }

    fn timeout(&self) -> Duration {
        if self.kind == Kind::Wild { WILD_TIMEOUT } else { TIMEOUT }
    }

    /// Checks how `hv` ended.
    fn judge(&self, status: ExitStatus, memory: u64, console: &str, stderr: &str) -> Result<()> {
        let tail: String = stderr.chars().skip(stderr.chars().count().saturating_sub(2000)).collect();
        ensure!(status.signal().is_none(), "hv was ended by {status}: {tail}");
        ensure!(!stderr.contains("panicked at"), "hv panicked: {tail}");
        ensure!(stderr.len() < MOST_WORDS, "hv said {} bytes: {tail}", stderr.len());
        let code = status.code().unwrap_or_default();
        let expected: &[i32] = match self.kind {
            Kind::Wild => &[0, 123, 124],
            Kind::Structured | Kind::Image => &[0],
            // What is no agent's word is an error.
            Kind::Agent => &[0, 125],
        };
        let end: String = console.chars().skip(console.chars().count().saturating_sub(300)).collect();
        ensure!(expected.contains(&code), "hv ended with {code}: {tail}\nThe guest said {end:?}");
        ensure!(!console.contains("guest program panicked"), "the guest program is wrong");
        let most = MEMORY + if self.host == Host::Emulated { MOST_EMULATED } else { MOST_NATIVE };
        ensure!(memory < most, "hv had {memory} bytes of memory, at most {most} was expected");
        Ok(())
    }
}

/// What the guest says that it counted.
fn counted(console: &str) -> BTreeMap<String, u64> {
    let Some((_, words)) = console.rsplit_once("hostile: ") else { return BTreeMap::new() };
    let words: Vec<&str> = words.split_whitespace().take_while(|word| *word != "end").collect();
    words.chunks_exact(2).filter_map(|pair| Some((pair[0].to_owned(), pair[1].parse().ok()?))).collect()
}

/// Folders and files of a run.
struct World {
    folder: TempDir,
}

impl World {
    fn new(attack: &Attack) -> Result<Self> {
        // Not where TMPDIR says: the paths of sockets are short.
        let folder = tempfile::Builder::new().prefix("hv").tempdir_in("/tmp")?;
        let world = Self { folder };
        for name in ["data", "run", "files", "root"] {
            fs::create_dir(world.path(name))?;
        }
        let kernel = kernel(attack);
        fs::write(world.path("kernel"), &kernel)?;
        let noise =
            |len: usize| (0..len).map(|index| (index * index / 251).to_le_bytes()[0]).collect::<Vec<u8>>();
        fs::write(world.path("files/read-only"), noise(1 << 20))?;
        fs::write(world.path("files/neighbour"), noise(1 << 20))?;
        fs::write(world.path("disk-one"), noise(1 << 20))?;
        fs::write(world.path("disk-two"), noise((1 << 20) + 512))?;
        if attack.is_image() {
            world.prepare_image(attack, &kernel)?;
        }
        Ok(world)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A store with the guest as its only kernel, and an image.
    fn prepare_image(&self, attack: &Attack, kernel: &[u8]) -> Result<()> {
        let store = self.path("data/hv/kernels/hostile");
        fs::create_dir_all(&store)?;
        fs::write(store.join("image"), kernel)?;
        let features: serde_json::Map<_, _> = FEATURES
            .iter()
            .map(|feature| ((*feature).to_owned(), serde_json::json!({ "modules": [] })))
            .collect();
        let manifest = serde_json::json!({
            "format": 1, "architecture": attack.architecture(), "release": "hostile", "size": kernel.len(),
            "modules": [], "features": features,
        });
        fs::write(store.join("kernel.json"), manifest.to_string())?;
        fs::write(self.path("root/file"), "a root's only file")?;
        let mut import = self.hv(attack.host)?;
        import.args(["image", "import", "--arch", attack.architecture()]);
        let output = import.arg(self.path("root")).arg("image").output()?;
        ensure!(output.status.success(), "image import: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }

    fn hv(&self, host: Host) -> Result<Command> {
        let mut command = Command::new(host.hv()?);
        command.env("XDG_DATA_HOME", self.path("data")).env("XDG_RUNTIME_DIR", self.path("run"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Ok(command)
    }

    fn command(&self, attack: &Attack) -> Result<Command> {
        let mut command = self.hv(attack.host)?;
        let accelerator = if attack.host == Host::Emulated { "emulated" } else { "kvm" };
        command.args(["run", "--accel", accelerator, "--memory", "64M", "--balloon", "--net", "user"]);
        command.args(["--transport", attack.transport, "--cpus", &attack.cpus.to_string()]);
        command.args(["--timeout", &format!("{}s", attack.timeout().as_secs())]);
        command.arg("--disk").arg(format!("{},readonly", self.path("files/read-only").display()));
        command.arg("--disk").arg(self.path("disk-one"));
        command.arg("--disk").arg(format!("{},queues=4", self.path("disk-two").display()));
        if attack.is_image() {
            command.arg("--console").arg(format!("file={}", self.path("console").display()));
            command.args(["image", "--", "true"]);
        } else {
            command.arg("--kernel").arg(self.path("kernel"));
        }
        Ok(command)
    }

    fn console(&self) -> Result<String> {
        Ok(String::from_utf8_lossy(&fs::read(self.path("console"))?).into_owned())
    }

    /// What no guest may change, and the sizes of what it may write to.
    fn canaries(&self) -> Result<BTreeMap<PathBuf, u64>> {
        let mut found = BTreeMap::new();
        hashes(&self.path("files"), &mut found)?;
        hashes(&self.path("data"), &mut found)?;
        for name in ["disk-one", "disk-two"] {
            found.insert(self.path(name), self.path(name).metadata()?.len());
        }
        Ok(found)
    }
}

/// The features that a kernel in the store has.
const FEATURES: &[&str] = &[
    "virtio-pci",
    "virtio-mmio",
    "block",
    "net",
    "console",
    "entropy",
    "vsock",
    "balloon",
    "fs",
    "ext4",
    "overlay",
    "erofs",
    "power-button",
];

/// The content of all files below (FNV-1a).
fn hashes(folder: &Path, found: &mut BTreeMap<PathBuf, u64>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            hashes(&path, found)?;
        } else {
            let bytes = fs::read(&path)?;
            let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
                (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
            });
            found.insert(path, hash);
        }
    }
    Ok(())
}

/// The guest with its orders, as a kernel.
fn kernel(attack: &Attack) -> Vec<u8> {
    let image: &[u8] = match attack.architecture() {
        "x86_64" => include_bytes!(concat!(env!("OUT_DIR"), "/hostile-x86_64.bin")),
        _ => include_bytes!(concat!(env!("OUT_DIR"), "/hostile-aarch64.bin")),
    };
    let flags = match attack.kind {
        Kind::Structured | Kind::Image => 0,
        Kind::Wild => 1,
        Kind::Agent => 2_u64,
    };
    let flags = flags | if attack.is_image() { 4 } else { 0 };
    let mut image = image.to_vec();
    let words = [attack.seed, attack.steps, flags].map(u64::to_le_bytes);
    image[PARAMETERS..PARAMETERS + 24].copy_from_slice(words.as_flattened());
    if attack.architecture() != "x86_64" {
        return image;
    }
    let size = image.len() as u64;
    let mut elf = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0\x01\0\0\0".to_vec();
    elf.extend([X86_64_BASE, 64, 0].into_iter().flat_map(u64::to_le_bytes));
    elf.extend(b"\0\0\0\0\x40\0\x38\0\x01\0\0\0\0\0\0\0");
    elf.extend(b"\x01\0\0\0\x07\0\0\0");
    elf.extend([0x1000, X86_64_BASE, X86_64_BASE, size, size, 0x1000].into_iter().flat_map(u64::to_le_bytes));
    elf.resize(0x1000, 0);
    elf.extend(image);
    elf
}

/// Waits for the child's end; says how much memory it had at most.
fn watch(child: &mut Child, patience: Duration) -> Result<(ExitStatus, u64)> {
    let deadline = Instant::now() + patience;
    let status = format!("/proc/{}/status", child.id());
    let mut most = 0;
    loop {
        let text = fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kibibytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
        most = most.max(kibibytes.unwrap_or(0) << 10);
        if let Some(status) = child.try_wait()? {
            return Ok((status, most));
        }
        if Instant::now() > deadline {
            child.kill()?;
            child.wait()?;
            bail!("hv does not end");
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// The last of what comes.
fn end_of(stream: Option<impl Read>) -> String {
    const KEPT: usize = 2 * MOST_WORDS;
    let (mut kept, mut buffer) = (Vec::new(), vec![0; 1 << 16]);
    let Some(mut stream) = stream else { return String::new() };
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        kept.extend(&buffer[..count]);
        kept.drain(..kept.len().saturating_sub(KEPT));
    }
    String::from_utf8_lossy(&kept).into_owned()
}
