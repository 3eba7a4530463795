//! `Process`: a program beside the guest's, and what processes cost.

use std::{
    fs,
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    sync::mpsc::channel,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use hv_boot_tests::processor_time;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// A running program. Killed when dropped.
pub(super) struct Process(Child);

impl Process {
    pub(super) fn start(mut command: Command) -> Result<Self> {
        command.stdin(Stdio::null());
        Ok(Self(command.spawn().with_context(|| format!("cannot run {command:?}"))?))
    }

    /// Starts it and waits for a line of its output with `text`.
    pub(super) fn start_until(mut command: Command, text: &'static str, patience: Duration) -> Result<Self> {
        command.stdout(Stdio::piped());
        let name = format!("{command:?}");
        let mut process = Self::start(command)?;
        let output = process.0.stdout.take().context("no standard output")?;
        let (tell, told) = channel();
        thread::spawn(move || {
            // To the end, so that it never waits for room.
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if line.contains(text) {
                    let _ = tell.send(());
                }
            }
        });
        if told.recv_timeout(patience).is_err() {
            bail!("{name} did not say {text:?}");
        }
        Ok(process)
    }

    pub(super) fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Looks until something is so.
    pub(super) fn wait_until(&self, what: &str, patience: Duration, is_so: impl Fn() -> bool) -> Result<()> {
        let deadline = Instant::now() + patience;
        while !is_so() {
            ensure!(Instant::now() < deadline, "not in {patience:?}: {what}");
            thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Seconds of CPU time of a process: of all its threads, and of those that are vCPUs.
pub(super) fn times(pid: u32) -> Result<(f64, f64)> {
    let mut cores = 0.0;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        // It may be gone by now.
        let Ok(text) = fs::read_to_string(thread?.path().join("stat")) else { continue };
        // `vcpu0` of hv; `CPU 0/TCG` and `CPU 0/KVM` of QEMU.
        if ["(vcpu", "(CPU "].iter().any(|name| text.contains(name)) {
            cores += processor_time(&text)?.as_secs_f64();
        }
    }
    Ok((processor_time(&fs::read_to_string(format!("/proc/{pid}/stat"))?)?.as_secs_f64(), cores))
}

/// MiB of a process.
pub(super) fn resident(pid: u32) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("the process is gone")?;
    Ok(line.trim_end_matches("kB").trim().parse::<f64>()? / 1024.0)
}

/// Lets this process and its children have as many descriptors as they may.
pub(super) fn allow_many_files() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    // Where it fails a contestant says what it lacks.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}
