//! Faults of the host around guests: processes killed, disks that fail, memory that runs out, time that stands still or
//! jumps, terminals and clients that go. Each is judged from outside, and after each nothing is left behind.
//!
//! Short by default; `ci/soak` has the long forms, by counts in the environment.

#[path = "faults/disks.rs"]
mod disks;
#[path = "faults/gone.rs"]
mod gone;
#[path = "faults/kills.rs"]
mod kills;
#[path = "faults/many.rs"]
mod many;
#[path = "faults/memory.rs"]
mod memory;
#[path = "faults/time.rs"]
mod time;

use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use hv_boot_tests::{
    images::{Home, Place, images, said},
    until,
};
use libtest_mimic::{Arguments, Failed, Trial};
use rustix::process::{Pid, Signal, kill_process};

type Test = fn(&Home) -> Result<()>;
/// Why a test cannot run here, though others can.
type Reason = fn() -> Option<String>;

const ANYWHERE: Reason = || None;

const FAULTS: &[(&str, Test, Reason)] = &[
    ("boots_are_killed", kills::boots_are_killed, ANYWHERE),
    ("writes_are_killed", kills::writes_are_killed, ANYWHERE),
    ("commands_are_killed", kills::commands_are_killed, ANYWHERE),
    ("a_full_disk_is_borne_until_there_is_room", disks::a_full_disk_is_borne_until_there_is_room, ANYWHERE),
    (
        "a_file_that_shrinks_is_borne_until_it_is_whole",
        disks::a_file_that_shrinks_is_borne_until_it_is_whole,
        ANYWHERE,
    ),
    (
        "a_device_that_fails_is_borne_until_it_is_whole",
        disks::a_device_that_fails_is_borne_until_it_is_whole,
        disks::why_no_errors,
    ),
    ("little_memory_is_borne", memory::little_memory_is_borne, memory::why_not),
    ("a_guest_without_memory_ends_alone", memory::a_guest_without_memory_ends_alone, memory::why_not),
    ("a_guest_that_stood_still_goes_on", time::a_guest_that_stood_still_goes_on, ANYWHERE),
    ("steps_of_the_clock_are_nothing", time::steps_of_the_clock_are_nothing, time::why_no_steps),
    ("guests_at_once_all_come_through", many::guests_at_once_all_come_through, ANYWHERE),
    ("boots_in_a_row_leave_nothing", many::boots_in_a_row_leave_nothing, ANYWHERE),
    ("terminals_go", gone::terminals_go, ANYWHERE),
    ("clients_go_in_mid_call", gone::clients_go_in_mid_call, ANYWHERE),
];

/// What does not depend on the hypervisor.
const EMULATED_ONLY: &[(&str, Test, Reason)] = &[("imports_are_killed", kills::imports_are_killed, ANYWHERE)];

fn main() -> ExitCode {
    // Each looks at all that is left of it.
    let arguments = Arguments { test_threads: Some(1), ..Arguments::from_args() };
    let homes: [Arc<Mutex<Option<Arc<Home>>>>; 2] = Default::default();
    let mut trials = Vec::new();
    for (name, place, home, lists) in [
        ("native", Place::NATIVE, &homes[0], &[FAULTS][..]),
        ("emulated", Place::EMULATED, &homes[1], &[FAULTS, EMULATED_ONLY]),
    ] {
        let no_guests = place.host.why_not().or_else(|| images().err().map(|error| error.to_string()));
        if let Some(reason) = &no_guests {
            eprintln!("tests of faults, {name}, are skipped: {reason}");
        }
        for &(test, run, reason) in lists.iter().copied().flatten() {
            let reason = if no_guests.is_some() { None } else { reason() };
            if let Some(reason) = &reason {
                eprintln!("{name}::{test} is skipped: {reason}");
            }
            let is_skipped = no_guests.is_some() || reason.is_some();
            let home = Arc::clone(home);
            let run = move || leaves_nothing(&*at_home(&home, place)?, run);
            let run = move || run().map_err(|error| Failed::from(format!("seed {}: {error:#}", seed())));
            trials.push(Trial::test(format!("{name}::{test}"), run).with_ignored_flag(is_skipped));
        }
    }
    let code = libtest_mimic::run(&arguments, trials).exit_code();
    for home in homes {
        drop(home.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
    code
}

fn at_home(home: &Mutex<Option<Arc<Home>>>, place: Place) -> Result<Arc<Home>> {
    let mut home = home.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(home) = &*home {
        return Ok(Arc::clone(home));
    }
    let made = Home::new(place)?;
    // A first guest makes folders that stay.
    made.say(&mut made.run_script(&["--name", "first"], "exit 7"))?.code(7)?;
    end(&made, "first")?;
    Ok(Arc::clone(home.insert(Arc::new(made))))
}

/// Runs a test, after which no guest, process or file may be there that was not there before.
fn leaves_nothing(home: &Home, test: Test) -> Result<()> {
    let before = home.files()?;
    // One that failed must not have others fail.
    test(home).inspect_err(|_| home.end_guests())?;
    let left = || -> Result<Vec<String>> {
        let listed = home.json(&["ps", "--all", "--json"])?;
        let guests = listed.as_array().into_iter().flatten().map(|guest| format!("guest {guest}"));
        let processes = home.processes()?.into_iter().map(|(pid, words)| format!("process {pid}: {words}"));
        let after = home.files()?;
        let files = after.symmetric_difference(&before).map(|path| path.display().to_string());
        Ok(guests.chain(processes).chain(files).collect())
    };
    let mut last = Vec::new();
    let settled = until("nothing is left", || {
        last = left()?;
        Ok(last.is_empty())
    });
    settled.with_context(|| format!("there is {last:#?}"))
}

/// How much is done: the number in the environment's variable, or the short form's.
fn count(variable: &str, short: u32) -> Result<u32> {
    match env::var(variable) {
        Ok(text) => text.parse().with_context(|| format!("{variable}={text}: not a number")),
        Err(_) => Ok(short),
    }
}

/// What `ci/soak` sums up.
fn told(line: &str) {
    println!("soak: {line}");
}

/// The seed of all that is random here: `HV_SOAK_SEED`, or 1.
fn seed() -> u64 {
    env::var("HV_SOAK_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1)
}

/// Random numbers of the seed (SplitMix64).
struct Random(u64);

impl Random {
    fn new(stream: &str) -> Self {
        Self(stream.bytes().fold(seed(), |state, byte| state.wrapping_mul(31).wrapping_add(byte.into())))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    /// A moment within `span`.
    fn moment(&mut self, span: Duration) -> Duration {
        Duration::from_micros(self.below(u64::try_from(span.as_micros()).unwrap_or(u64::MAX)))
    }
}

fn send(pid: u32, signal: Signal) -> Result<()> {
    let pid = Pid::from_raw(i32::try_from(pid)?).context("0 is no process")?;
    kill_process(pid, signal).with_context(|| format!("no {signal:?} to {pid:?}"))
}

/// The SHA-256 of a file.
fn sha256(path: &Path) -> Result<String> {
    let text = said(Command::new("sha256sum").arg(path), b"")?.code(0)?.text();
    Ok(text.split_whitespace().next().unwrap_or_default().to_owned())
}

/// Starts a guest in the background, whose command does nothing.
fn sleeper(home: &Home, name: &str, options: &[&str]) -> Result<u32> {
    let mut all = vec!["-d", "--name", name];
    all.extend(options);
    home.say(&mut home.run_script(&all, "exec sleep 100000"))?.code(0)?;
    home.process(name)
}

/// Ends a guest and forgets it.
fn end(home: &Home, name: &str) -> Result<()> {
    home.say(&mut home.hv(["rm", "--force", name]))?.code(0).map(drop)
}

/// What a process has open and runs.
#[derive(Debug, PartialEq, Eq)]
struct Holdings {
    /// What its descriptors lead to, without their numbers: sockets and pipes have new ones each time.
    descriptors: Vec<String>,
    /// The names of its threads.
    threads: Vec<String>,
}

impl Holdings {
    fn of(pid: u32) -> Result<Self> {
        let mut descriptors = Vec::new();
        for entry in fs::read_dir(format!("/proc/{pid}/fd"))? {
            // One that is being closed is gone.
            let Ok(to) = fs::read_link(entry?.path()) else { continue };
            descriptors.push(to.to_string_lossy().split(':').next().unwrap_or_default().to_owned());
        }
        let mut threads = Vec::new();
        for entry in fs::read_dir(format!("/proc/{pid}/task"))? {
            threads.extend(fs::read_to_string(entry?.path().join("comm")));
        }
        descriptors.sort();
        threads.sort();
        Ok(Self { descriptors, threads })
    }

    /// Those that stay: the end of a command is told before the guest's process has closed the last of its connection.
    fn settled(pid: u32) -> Result<Self> {
        let mut last = Self::of(pid)?;
        let mut since = Instant::now();
        until("descriptors and threads stay as they are", || {
            let now = Self::of(pid)?;
            if now != last {
                (last, since) = (now, Instant::now());
            }
            Ok(since.elapsed() > Duration::from_secs(1))
        })?;
        Ok(last)
    }

    /// Waits until the process holds these again.
    fn are_all(&self, pid: u32) -> Result<()> {
        let mut last = Self::of(pid)?;
        let settled = until("descriptors and threads are as before", || {
            last = Self::of(pid)?;
            Ok(last == *self)
        });
        settled.with_context(|| format!("it holds {last:?}, and before {self:?}"))
    }
}

/// Paths of `now` that are not in `before`.
fn new_files(home: &Home, before: &BTreeSet<PathBuf>) -> Result<Vec<PathBuf>> {
    Ok(home.files()?.difference(before).cloned().collect())
}
