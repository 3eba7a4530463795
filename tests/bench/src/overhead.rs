//! What the VMM adds to a guest's own boot: exec to the first line of /init less the guest's uptime at that line; what of
//! that is over before the guest's first instruction, and so the VMM's; and the memory that the VMM holds then.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use hv_boot_tests::Host;

use crate::{
    Figures,
    boot::LINE,
    memory::{GUEST_KIB, beyond_guest},
};

/// What `hv -vv` says when the guest's cores begin.
const STARTED: &str = "the guest runs";

pub(crate) fn measure(runs: usize, kernel: &Path, initrd: &Path) -> Result<()> {
    let (mut whole, mut added, mut own, mut memory) =
        (Figures::default(), Figures::default(), Figures::default(), Figures::default());
    for _ in 0..runs {
        own.push(time_to_start(kernel, initrd)?);
        let mut command = Command::new(Host::Native.hv()?);
        command.args(["run", "--memory", "256M", "--append", "quiet hv.then=wait", "--kernel"]);
        command.arg(kernel).arg("--initrd").arg(initrd).stdin(Stdio::null()).stdout(Stdio::piped());
        let start = Instant::now();
        let mut child = command.spawn().with_context(|| format!("cannot run {command:?}"))?;
        let stdout = child.stdout.take().context("no standard output")?;
        let (time, uptime) = seen(BufReader::new(stdout), start)?;
        whole.push(time);
        added.push(time - uptime);
        thread::sleep(Duration::from_secs(1));
        memory.push(beyond_guest(child.id(), GUEST_KIB)?);
        child.kill()?;
        child.wait()?;
    }
    let (low, high) = added.range();
    println!(
        "| exec to the first line of /init, s | less the guest's uptime, s (range) | exec to the guest's first instruction, s | memory beyond guest RAM |"
    );
    println!("| --- | --- | --- | --- |");
    println!(
        "| {:.2} | {:.2} ({low:.2}–{high:.2}) | {:.2} | {:.1} MiB |",
        whole.median(),
        added.median(),
        own.median(),
        memory.median()
    );
    Ok(())
}

/// Seconds from exec of `hv` until the same guest, loaded, executes its first instruction.
fn time_to_start(kernel: &Path, initrd: &Path) -> Result<f64> {
    let mut command = Command::new(Host::Native.hv()?);
    command.args(["run", "-vv", "--memory", "256M", "--kernel"]).arg(kernel).arg("--initrd").arg(initrd);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let start = Instant::now();
    let mut child = command.spawn().with_context(|| format!("cannot run {command:?}"))?;
    let stderr = child.stderr.take().context("no standard error")?;
    let line =
        BufReader::new(stderr).lines().find(|line| line.as_ref().is_ok_and(|line| line.contains(STARTED)));
    let time = start.elapsed().as_secs_f64();
    child.kill()?;
    child.wait()?;
    line.with_context(|| format!("hv -vv did not say {STARTED:?}"))??;
    Ok(time)
}

/// Seconds since `start` at the first line of /init, and the uptime that it tells.
fn seen(output: impl BufRead, start: Instant) -> Result<(f64, f64)> {
    for line in output.lines() {
        let line = line?;
        if let Some((_, rest)) = line.split_once(LINE) {
            let time = start.elapsed().as_secs_f64();
            let uptime = rest.split_whitespace().find_map(|word| word.parse().ok());
            return Ok((time, uptime.with_context(|| format!("no uptime in {line:?}"))?));
        }
    }
    bail!("the guest ended before it said {LINE:?}")
}
