//! The network: the same guest on `hv --net user`, on QEMU with libslirp and on QEMU with passt, against servers on this host.
//!
//! The guest is a kernel, busybox, iperf3 and `hv-bench-client`; its console takes one line at a time. Every wait has a deadline, so a
//! contestant that hangs loses its run, and the others go on.

mod console;
mod echo;
mod process;
pub(crate) mod sandbox;

use std::{
    env, fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use hv_boot_tests::{Host, Kernel, repository};
use serde_json::Value;
use tempfile::TempDir;

use self::{console::Console, echo::EchoServer, process::Process};
use crate::{Figures, images::succeed, memory::beyond_guest};

/// This host, as the guests of all contestants see it.
const HOST: &str = "10.0.2.2";

/// How long iperf3 sends.
const SECONDS: u32 = 5;
/// Round trips of a byte in each run.
const ROUNDS: u32 = 2000;
/// Connections that are held open at once.
const CONNECTIONS: u32 = 1000;
/// Bytes that go each way on each of them, at first and then.
const CARRIED: [u32; 2] = [1, 32 << 10];

/// How long a guest may take to boot, and a step in it.
const BOOT: Duration = Duration::from_secs(300);
const STEP: Duration = Duration::from_secs(600);

/// The guest's RAM.
const GUEST_MIB: u64 = 512;

const MEBIBYTE: f64 = (1 << 20) as f64;

/// A way for the guest to reach this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Network {
    /// `hv` without a network card, for its memory alone.
    None,
    User,
    Slirp,
    Passt,
}

const CONTESTANTS: [Network; 3] = [Network::User, Network::Slirp, Network::Passt];

/// What a run of a contestant tells, in the order of [`Scene::run`]'s figures.
const MEASURES: [&str; 12] = [
    "iperf3, guest to host, MiB/s",
    "iperf3, host to guest, MiB/s",
    "round trip of 1 byte, median, µs",
    "round trip of 1 byte, mean, µs",
    "round trip of 1 byte, slowest of a hundred, µs",
    "CPU time of all processes, guest to host, s/GiB",
    "CPU time of all processes, host to guest, s/GiB",
    "… but for the threads of vCPUs, guest to host, s/GiB",
    "… but for the threads of vCPUs, host to guest, s/GiB",
    "resident memory beyond guest RAM, idle, MiB",
    "resident memory for 1,000 connections that carried 1 byte, MiB",
    "resident memory for 1,000 connections that carried 32 KiB each way, MiB",
];

pub(crate) fn measure(runs: usize, host: Host) -> Result<()> {
    process::allow_many_files();
    let scene = Scene::new(host)?;
    let mut figures: Vec<[Figures; MEASURES.len()]> = vec![Default::default(); CONTESTANTS.len()];
    let mut idle: [Figures; 2] = Default::default();
    for number in 1..=runs {
        for (network, figures) in CONTESTANTS.into_iter().zip(&mut figures) {
            match scene.run(network) {
                Ok(run) => figures.iter_mut().zip(run).for_each(|(all, one)| all.push(one)),
                Err(error) => println!("Run {number} of {} failed: {error:#}\n", network.name()),
            }
        }
        for (network, figures) in [Network::None, Network::User].into_iter().zip(&mut idle) {
            figures.push(scene.idle(network)?);
        }
    }
    println!("| {} | {} |", scene.words(), CONTESTANTS.map(Network::name).join(" | "));
    println!("| --- |{}", " --- |".repeat(CONTESTANTS.len()));
    for (row, measure) in MEASURES.into_iter().enumerate() {
        let cells = figures.iter().map(|figures| cell(&figures[row])).collect::<Vec<_>>();
        println!("| {measure} | {} |", cells.join(" | "));
    }
    println!();
    println!("| resident memory beyond guest RAM, idle, MiB | `--net none` | `--net user` | difference |");
    println!("| --- | --- | --- | --- |");
    let [without, with] = &idle;
    println!("| hv | {} | {} | {:.2} |", cell(without), cell(with), with.median() - without.median());
    Ok(())
}

/// The median and the range.
fn cell(figures: &Figures) -> String {
    let ((low, high), median) = (figures.range(), figures.median());
    if median < 100.0 {
        format!("{median:.2} ({low:.2}–{high:.2})")
    } else {
        format!("{median:.0} ({low:.0}–{high:.0})")
    }
}

/// What all contestants share.
struct Scene {
    host: Host,
    kernel: PathBuf,
    initrd: PathBuf,
    echo: EchoServer,
    folder: TempDir,
}

/// A contestant whose guest is ready.
struct Running {
    console: Console,
    /// passt, where it carries the guest's frames.
    beside: Option<Process>,
}

impl Scene {
    fn new(host: Host) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        // passt is another user's when it makes its socket.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777))?;
        let (kernel, arch) = match host {
            Host::Emulated => (Kernel::named("arm64-trixie-backports-cloud")?, "aarch64"),
            _ => (Kernel::named("trixie-backports-cloud")?, "x86_64"),
        };
        let tree = folder.path().join("tree");
        fs::create_dir_all(tree.join("bin"))?;
        programs(arch, &tree)?;
        let initrd = folder.path().join("initrd");
        let mut make = Command::new(repository().join("ci/initrd"));
        make.args(["--arch", arch, "--modules", "virtio_pci virtio_net virtio_blk", "--kernel"])
            .arg(kernel.folder());
        make.arg("--with").arg(&tree).arg(repository().join("tests/bench/guest/network")).arg(&initrd);
        succeed(&mut make)?;
        let kernel = if host == Host::Emulated { kernel.packaged() } else { kernel.elf() };
        Ok(Self { host, kernel, initrd, echo: EchoServer::start()?, folder })
    }

    /// What the guest runs on, in a few words.
    fn words(&self) -> &'static str {
        if self.host == Host::Emulated { "arm64, emulated" } else { "x86_64, KVM" }
    }

    /// Boots the guest on a contestant.
    fn start(&self, network: Network) -> Result<Running> {
        let socket = self.folder.path().join("passt.socket");
        let beside = (network == Network::Passt).then(|| passt(&socket)).transpose()?;
        let command = match network {
            Network::None | Network::User => self.hv(network, &[])?,
            Network::Slirp => self.qemu("user,id=net", ""),
            Network::Passt => {
                let netdev =
                    format!("stream,id=net,server=off,addr.type=unix,addr.path={}", socket.display());
                self.qemu(&netdev, "hv.mtu=65520")
            }
        };
        let console = self.boot(command).with_context(|| network.name())?;
        Ok(Running { console, beside })
    }

    /// Waits until the guest of `command` is ready.
    fn boot(&self, mut command: Command) -> Result<Console> {
        let log = self.folder.path().join("log");
        command.stderr(fs::File::create(&log)?);
        let mut console = Console::start(command)?;
        console.wait_for(|line| line == "the guest is ready", BOOT).with_context(|| {
            let log = fs::read_to_string(&log).unwrap_or_default();
            format!("it does not boot its guest: {:?}", log.trim())
        })?;
        Ok(console)
    }

    fn hv(&self, network: Network, more: &[&str]) -> Result<Command> {
        let mut command = Command::new(self.host.hv()?);
        command.args(["run", "--cpus", "1", "--append", "quiet", "--memory", &format!("{GUEST_MIB}M")]);
        if self.host == Host::Emulated {
            command.args(["--accel", "emulated"]);
        }
        command.args(["--net", if network == Network::None { "none" } else { "user,host" }]);
        command.arg("--kernel").arg(&self.kernel).arg("--initrd").arg(&self.initrd).args(more);
        Ok(command)
    }

    /// QEMU with names on its threads, so that those of vCPUs can be told from the others.
    fn qemu(&self, netdev: &str, words: &str) -> Command {
        let (program, console, machine) = match self.host {
            Host::Emulated => {
                let machine = ["-M", "virt,gic-version=3", "-accel", "tcg", "-cpu", "max,pauth=off"];
                ("qemu-system-aarch64", "ttyAMA0", machine)
            }
            _ => ("qemu-system-x86_64", "ttyS0", ["-M", "q35", "-accel", "kvm", "-cpu", "host"]),
        };
        let mut command = Command::new(program);
        command.args(machine).args([
            "-m",
            &GUEST_MIB.to_string(),
            "-smp",
            "1",
            "-name",
            "guest,debug-threads=on",
        ]);
        command.args([
            "-nodefaults",
            "-no-user-config",
            "-display",
            "none",
            "-no-reboot",
            "-serial",
            "stdio",
        ]);
        command.args(["-netdev", netdev, "-device", "virtio-net-pci,netdev=net,romfile="]);
        command.arg("-kernel").arg(&self.kernel).arg("-initrd").arg(&self.initrd);
        command.args(["-append", &format!("console={console} quiet {words}")]);
        command
    }

    /// The resident memory of `hv` beyond the guest's RAM when nothing happens.
    fn idle(&self, network: Network) -> Result<f64> {
        let running = self.start(network)?;
        thread::sleep(Duration::from_secs(2));
        beyond_guest(running.console.pid(), GUEST_MIB << 10)
    }

    fn run(&self, network: Network) -> Result<[f64; MEASURES.len()]> {
        let mut running = self.start(network)?;
        thread::sleep(Duration::from_secs(2));
        let idle = running.resident()?;
        // What connections need once, such as the emulator's translations, belongs to none of them.
        self.hold(&mut running, 64, CARRIED[0])?;
        let before = running.resident()?;
        let [held, full] = CARRIED.map(|bytes| self.hold(&mut running, CONNECTIONS, bytes));
        let (held, full) = (held? - before, full? - before);
        let server = self.echo.port();
        let told = running.console.run(&format!("hv-bench-client ping {HOST}:{server} {ROUNDS}"), STEP)?;
        let times = told.iter().find_map(|line| line.strip_prefix("ping ")).context("no round trips")?;
        let times = times.split(' ').map(str::parse).collect::<Result<Vec<f64>, _>>()?;
        let [median, mean, slowest] = times[..] else { anyhow::bail!("round trips took {times:?}") };
        let out = self.iperf3(&mut running, "")?;
        let back = self.iperf3(&mut running, "-R")?;
        Ok([
            out.speed, back.speed, median, mean, slowest, out.all, back.all, out.apart, back.apart, idle,
            held, full,
        ])
    }

    /// MiB that are resident while there are `count` connections.
    fn hold(&self, running: &mut Running, count: u32, bytes: u32) -> Result<f64> {
        let server = self.echo.port();
        running.console.send(&format!("hv-bench-client hold {HOST}:{server} {count} {bytes}"))?;
        let held =
            running.console.wait_for(|line| line.starts_with("held ") || line.starts_with("=> "), STEP);
        let held = held.with_context(|| format!("{count} connections"))?;
        ensure!(held.last().is_some_and(|line| line.starts_with("held ")), "connections failed: {held:?}");
        let during = running.resident()?;
        self.echo.end_all();
        running.console.ended(STEP)?;
        Ok(during)
    }

    fn iperf3(&self, running: &mut Running, words: &str) -> Result<Transfer> {
        let port = echo::free_port()?.to_string();
        let mut server = Command::new("iperf3");
        server.args(["-s", "-1", "--forceflush", "-B", "127.0.0.1", "-p", &port]);
        let _server = Process::start_until(server, "Server listening", STEP)?;
        let before = running.times()?;
        let line =
            format!("iperf3 -J -i 0 -t {SECONDS} -c {HOST} -p {port} {words} | busybox tr -d '\\n'; echo");
        let told = running.console.run(&line, STEP)?.concat();
        let after = running.times()?;
        let report: Value = serde_json::from_str(&told).with_context(|| format!("iperf3 said {told:?}"))?;
        let sum = &report["end"]["sum_received"];
        let number = |name: &str| sum[name].as_f64().with_context(|| format!("no {name} in {report}"));
        let (bytes, seconds) = (number("bytes")?, number("seconds")?);
        let gibibytes = bytes / MEBIBYTE / 1024.0;
        Ok(Transfer {
            speed: bytes / MEBIBYTE / seconds,
            all: (after.0 - before.0) / gibibytes,
            apart: (after.1 - before.1) / gibibytes,
        })
    }
}

/// A run of iperf3: MiB a second, and seconds of CPU time for a GiB, of all threads and of those that are no vCPUs.
struct Transfer {
    speed: f64,
    all: f64,
    apart: f64,
}

impl Running {
    /// MiB, without the guest's RAM.
    fn resident(&self) -> Result<f64> {
        let beside = self.beside.as_ref().map_or(Ok(0.0), |process| process::resident(process.pid()))?;
        Ok(beyond_guest(self.console.pid(), GUEST_MIB << 10)? + beside)
    }

    /// Seconds of CPU time: of all threads, and of those that are no vCPUs.
    fn times(&self) -> Result<(f64, f64)> {
        let (all, cores) = process::times(self.console.pid())?;
        let beside = self.beside.as_ref().map_or(Ok((0.0, 0.0)), |process| process::times(process.pid()))?;
        Ok((all + beside.0, all - cores + beside.0))
    }
}

impl Network {
    fn name(self) -> &'static str {
        match self {
            Self::None => "hv, no network",
            Self::User => "hv, `--net user`",
            Self::Slirp => "QEMU, libslirp",
            Self::Passt => "QEMU, passt",
        }
    }
}

/// Puts what the guest runs into `tree`: iperf3 with its libraries, of Debian, and our client.
fn programs(arch: &str, tree: &Path) -> Result<()> {
    let root =
        Command::new(repository().join("ci/debian-root")).arg(arch).stderr(Stdio::inherit()).output()?;
    ensure!(root.status.success(), "ci/debian-root ended with {}", root.status);
    let root = String::from_utf8(root.stdout)?;
    let libraries = ["libiperf.so.*", "libcrypto.so.*", "libsctp.so.*", "libc.so.6", "libm.so.6"];
    let libraries = libraries.map(|name| format!("./usr/lib/{arch}-linux-gnu/{name}"));
    let mut unpack = Command::new("tar");
    unpack.arg("-C").arg(tree).args(["--no-same-owner", "--wildcards", "-xf", root.trim()]);
    unpack.args(["./lib*", "./usr/lib*/ld-linux-*", "./usr/bin/iperf3"]).args(libraries);
    succeed(&mut unpack)?;
    let own = env::current_exe()?;
    let built = format!("{arch}-unknown-linux-musl/release/hv-bench-client");
    let client = own.ancestors().map(|folder| folder.join(&built)).find(|path| path.exists());
    let client = client.with_context(|| format!("{built} is not beside this program: see ci/bench"))?;
    fs::copy(client, tree.join("bin/hv-bench-client"))?;
    Ok(())
}

/// passt on `socket`, which gives the guest the addresses that the others give. As root it would become a user who may do nothing.
fn passt(socket: &Path) -> Result<Process> {
    let _ = fs::remove_file(socket);
    let mut command = Command::new("passt");
    command.args(["-f", "-q", "-a", "10.0.2.15", "-n", "24", "-g", HOST, "-s"]).arg(socket);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let process = Process::start(command)?;
    process.wait_until("passt listens", STEP, || socket.exists())?;
    Ok(process)
}
