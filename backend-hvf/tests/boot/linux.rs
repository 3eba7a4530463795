//! Debian's newest arm64 kernel, to its init and off again.

use std::{
    env,
    fs::File,
    io::{self, Write},
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    sync::{Arc, Mutex},
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context, Result, bail, ensure};
use backend_hvf::{Hvf, HvfVm};
use hv_core::{
    boot::{Payload, PayloadFile},
    hypervisor::Hypervisor,
    io::EventLoop,
    machine::{Event, Machine, MachineConfig, board::Parts},
    virtio::Transport,
};
use libtest_mimic::{Arguments, Failed, Trial};

const KERNEL: &str = "arm64-trixie-backports-cloud";
/// Long enough on a slow, shared machine.
const PATIENCE: Duration = Duration::from_secs(120);
/// Of one vCPU, from power-on to power-off, with a quiet console.
const MOST_EXITS: u64 = 2500;
const INIT: &str = "#!/bin/sh
/bin/busybox mount -t proc proc /proc
echo init on $(/bin/busybox nproc)
/bin/busybox poweroff -f
";

/// What is written to it, for all who hold it.
#[derive(Clone, Default)]
struct Text(Arc<Mutex<Vec<u8>>>);

impl Text {
    fn read(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

impl Write for Text {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

pub(crate) fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // A process has one VM at a time.
    arguments.test_threads = Some(1);
    let log = Text::default();
    let writer = log.clone();
    tracing_subscriber::fmt()
        .with_env_filter("backend_hvf=debug")
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .init();
    let reason = why_not().err();
    if let Some(reason) = &reason {
        eprintln!("every boot test is skipped: {reason:#}");
    }
    let trial = |name: &str, cpus, waits: bool| {
        let log = log.clone();
        let run = move || {
            // What a Mac does with WFI is not ours to say.
            #[cfg(feature = "simulated")]
            backend_hvf::simulation::wfi_waits(waits);
            #[cfg(not(feature = "simulated"))]
            let _ = waits;
            boots(cpus, &log).map_err(|error| Failed::from(format!("{error:#}")))
        };
        Trial::test(name, run).with_ignored_flag(reason.is_some())
    };
    let trials = vec![
        trial("linux_boots_on_1_cpu_in_few_exits", 1, true),
        trial("linux_boots_on_1_cpu_where_wfi_comes_out", 1, false),
        trial("linux_boots_on_2_cpus", 2, true),
        trial("linux_boots_on_2_cpus_where_wfi_comes_out", 2, false),
        trial("linux_boots_on_4_cpus", 4, true),
    ];
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn why_not() -> Result<()> {
    Hvf::open()?;
    kernel().map(drop)
}

fn kernel() -> Result<PathBuf> {
    let cache = match (env::var_os("HV_CACHE"), env::var_os("XDG_CACHE_HOME"), env::var_os("HOME")) {
        (Some(cache), _, _) => PathBuf::from(cache),
        (None, Some(cache), _) => Path::new(&cache).join("hv"),
        (None, None, Some(home)) => Path::new(&home).join(".cache/hv"),
        (None, None, None) => bail!("neither HV_CACHE, XDG_CACHE_HOME nor HOME is set"),
    };
    let path = cache.join("kernels").join(KERNEL).join("vmlinuz");
    ensure!(path.exists(), "{} is not there: run `ci/kernels {KERNEL}`", path.display());
    Ok(path)
}

fn initrd(directory: &Path) -> Result<PathBuf> {
    let (init, path) = (directory.join("init"), directory.join("initrd"));
    std::fs::write(&init, INIT)?;
    let tool = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ci/initrd");
    let output = Command::new(tool).args(["--arch", "aarch64"]).args([&init, &path]).output()?;
    ensure!(output.status.success(), "ci/initrd: {}", String::from_utf8_lossy(&output.stderr));
    Ok(path)
}

fn boots(cpus: u32, log: &Text) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let (kernel, initrd) = (kernel()?, initrd(directory.path())?);
    let console = Text::default();
    let before = log.read().len();
    let mut events = EventLoop::new()?;
    let config = MachineConfig { cpus, memory: 512 << 20, transport: Transport::Pci };
    let parts = Parts {
        payload: Payload {
            kernel: PayloadFile::kernel(File::open(&kernel)?, kernel),
            initrd: Some(PayloadFile::initrd(File::open(&initrd)?, initrd)),
            command_line: "console=ttyAMA0 quiet".to_owned(),
        },
        serial: Box::new(console.clone()),
        clock: Box::new(SystemTime::now),
        virtio: Vec::new(),
    };
    let mut machine = Machine::<HvfVm>::assemble(&Hvf::open()?, &config, parts, events.bell(0))?;
    machine.start()?;
    let event = wait(&machine, &mut events);
    machine.stop();
    drop(machine);
    let (shown, said) = (console.read(), log.read().split_off(before));
    ensure!(event == Some(Event::PowerOff), "{event:?} after:\n{shown}\n{said}");
    ensure!(shown.contains(&format!("init on {cpus}")), "{shown}\n{said}");
    let exits = exits(&said).with_context(|| format!("no exits counted in:\n{said}"))?;
    println!("{cpus} vCPUs: {exits} exits of the first\n{said}");
    ensure!(cpus > 1 || exits <= MOST_EXITS, "{exits} exits:\n{said}");
    Ok(())
}

/// The first event, if it comes while there is patience.
fn wait(machine: &Machine<HvfVm>, events: &mut EventLoop) -> Option<Event> {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(event) = machine.take_event() {
            return Some(event);
        }
        let left = end.checked_duration_since(Instant::now())?;
        events.turn(Some(left)).ok()?;
    }
}

/// What the first core says of itself: `vCPU 0: 2341 exits: ...`.
fn exits(log: &str) -> Option<u64> {
    let count = log.split("vCPU 0: ").nth(1)?.split_once(" exits: ")?.0;
    count.parse().ok()
}
