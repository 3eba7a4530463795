//! Time that stands still for a guest's process, and clocks of the host that are set.

use std::{
    env,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, ensure};
use hv_boot_tests::images::{Home, said};
use rustix::process::Signal;

use super::{count, end, send, sleeper, told, until};

/// So far a guest's clock may be from the host's where commands take their time.
const APART: f64 = 20.0;

fn now() -> Result<f64> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64())
}

/// The guest's real time, and the time since its boot.
fn clocks(home: &Home, name: &str) -> Result<(f64, f64)> {
    let script = "echo $(date +%s.%N) $(cut -d' ' -f1 /proc/uptime)";
    let text = home.say(&mut home.exec_in(name, &[], &["sh", "-c", script]))?.code(0)?.text();
    let mut words = text.split_whitespace().map(str::parse);
    let mut next = || words.next().with_context(|| format!("not two numbers: {text:?}"));
    Ok((next()??, next()??))
}

/// Sends SIGSTOP to a guest's process for a while: all of its threads, its devices and its sockets.
pub(super) fn a_guest_that_stood_still_goes_on(home: &Home) -> Result<()> {
    let stop = Duration::from_secs(count("HV_SOAK_STOP", 3)?.into());
    let pid = sleeper(home, "still", &["--rm"])?;
    let counter = "i=0; while :; do i=$((i+1)); echo $i >/dev/shm/count; sleep 0.05; done";
    home.say(&mut home.exec_in("still", &["-d"], &["sh", "-c", counter]))?.code(0)?;
    let counted = || -> Result<u64> {
        let text = home.say(&mut home.exec_in("still", &[], &["cat", "/dev/shm/count"]))?.text();
        Ok(text.parse().unwrap_or(0))
    };
    let (before, counted_before) = (clocks(home, "still")?, counted()?);
    send(pid, Signal::STOP)?;
    let begin = Instant::now();
    // Who looks on or asks is not held up for good.
    ensure!(home.listed("still")?["state"] == "not answering", "it is {}", home.listed("still")?);
    let refused = home.say(&mut home.exec_in("still", &[], &["true"]))?.code(125)?;
    ensure!(refused.stderr.contains("hv kill") && refused.stderr.lines().count() == 1, "it said {refused:?}");
    thread::sleep(stop.saturating_sub(begin.elapsed()));
    let mut waiting = home.exec_in("still", &[], &["echo", "well"]);
    let waiting = waiting.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    thread::sleep(Duration::from_millis(300));
    send(pid, Signal::CONT)?;
    let stopped = begin.elapsed();
    let waited = waiting.wait_with_output()?;
    ensure!(waited.status.success() && waited.stdout == b"well\n", "the command that waited: {waited:?}");
    let after = clocks(home, "still")?;
    let apart = (after.0 - now()?).abs();
    ensure!(apart < APART, "the guest's clock is {apart:.1} s from the host's");
    ensure!(
        after.1 >= before.1 + stopped.as_secs_f64(),
        "since its boot {} s, before {} s",
        after.1,
        before.1
    );
    until("what ran in the guest goes on", || Ok(counted()? > counted_before + 20))?;
    ensure!(home.listed("still")?["state"] == "running", "it is {}", home.listed("still")?);
    end(home, "still")?;
    told(&format!(
        "SIGSTOP for {stop:?}: the command that waited ran, and the guest's clock is within {APART} s"
    ));
    Ok(())
}

/// Why the clock of this machine is left alone.
pub(super) fn why_no_steps() -> Option<String> {
    env::var_os("HV_IN_BOX")
        .is_none()
        .then(|| "it sets the clock of the machine, so it runs in the box alone".to_owned())
}

/// Steps the host's clock while it lives, and brings it back.
struct Stepped {
    real: f64,
    since: Instant,
}

impl Stepped {
    fn by(seconds: f64) -> Result<Self> {
        let stepped = Self { real: now()?, since: Instant::now() };
        set(stepped.real + seconds)?;
        Ok(stepped)
    }
}

impl Drop for Stepped {
    fn drop(&mut self) {
        let _ = set(self.real + self.since.elapsed().as_secs_f64());
    }
}

fn set(to: f64) -> Result<()> {
    said(Command::new("date").args(["--set", &format!("@{to:.3}")]), b"")?.code(0).map(drop)
}

/// Shows that guests, their commands and their timeouts go by time that nobody sets.
pub(super) fn steps_of_the_clock_are_nothing(home: &Home) -> Result<()> {
    const DAY: f64 = 86_400.0;
    let limit = Duration::from_secs(20);
    sleeper(home, "stepped", &["--rm", "--timeout", "1h"])?;
    let begin = Instant::now();
    let mut timed = home.run_script(&["--timeout", &format!("{}s", limit.as_secs())], "exec sleep 100000");
    let timed = timed.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
    let mut steps = 0;
    for step in [DAY, -DAY, 400.0 * DAY, -400.0 * DAY, 3600.0] {
        let before = clocks(home, "stepped")?;
        let _stepped = Stepped::by(step)?;
        steps += 1;
        let after = clocks(home, "stepped").with_context(|| format!("after a step of {step} s"))?;
        let (real, since_boot) = (after.0 - before.0, after.1 - before.1);
        ensure!(
            since_boot > 0.0 && (real - since_boot).abs() < APART,
            "a step of {step} s: {before:?}, then {after:?}"
        );
        ensure!(home.listed("stepped")?["state"] == "running", "after a step of {step} s the guest is gone");
    }
    // It is over when its time is, and not when a clock says so.
    let _stepped = Stepped::by(-DAY)?;
    let ended = timed.wait_with_output()?;
    ensure!(ended.status.code() == Some(124), "it ended with {ended:?}");
    ensure!(begin.elapsed() >= limit, "it was ended after {:?} of {limit:?}", begin.elapsed());
    end(home, "stepped")?;
    told(&format!(
        "{} steps of the host's clock by up to 400 days: guest, commands and --timeout go on",
        steps + 1
    ));
    Ok(())
}
