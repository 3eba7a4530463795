//! `hv stop`, `hv kill`, `hv wait` and `hv rm`.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use hv_control::{Answer, ClientError, Request};
use rustix::process::{Pid, Signal, kill_process};

use crate::{
    args::{KillArguments, RemoveArguments, StopArguments},
    exit_code::Code,
    guests::{Guest, Guests, Life},
};

/// How soon the power button of a guest that did not listen is pressed again.
const PRESS_AGAIN: Duration = Duration::from_secs(1);
/// So long a guest's process may take to answer that it will end.
const ANSWER: Duration = Duration::from_secs(3);
/// So long a guest's process may take to end when it was told to.
const PATIENCE: Duration = Duration::from_secs(10);

/// Asks guests to end, as by the power button, and ends those that do not in time; all guests at once.
pub(super) fn stop(guests: &Guests, arguments: &StopArguments) -> anyhow::Result<Code> {
    thread::scope(|scope| {
        let stop_one = |name: &String| -> anyhow::Result<()> {
            let guest = guests.named(name)?;
            if guest.life == Life::Stopped {
                Ok(())
            } else {
                power_off(guests.running(name)?, arguments.time)
            }
        };
        let stopping: Vec<_> =
            arguments.names.iter().map(|name| scope.spawn(move || stop_one(name))).collect();
        let mut results = stopping.into_iter().map(|thread| match thread.join() {
            Ok(result) => result,
            Err(_) => bail!("stopping a guest failed"),
        });
        super::each(&arguments.names, |_| results.next().unwrap_or(Ok(())))
    })
}

fn power_off(guest: &Guest, time: Duration) -> anyhow::Result<()> {
    let start = Instant::now();
    loop {
        let pressed = guest.control().map(|mut client| client.request(&Request::PowerButton));
        let left = time.saturating_sub(start.elapsed());
        let patience = match pressed {
            Ok(Ok(Answer::PowerButton { listens: true })) => left,
            // It may listen later, or end just now.
            _ => left.min(PRESS_AGAIN),
        };
        if has_ended(guest, patience) {
            return gone(guest);
        }
        if start.elapsed() >= time {
            return end(guest);
        }
    }
}

/// Waits for the guest's end, for a time.
fn has_ended(guest: &Guest, patience: Duration) -> bool {
    // No time at all would mean for ever.
    let patience = patience.max(Duration::from_millis(1));
    match guest.control().map(|client| client.wait(Some(patience))) {
        Ok(Ok(Some(_))) => true,
        Ok(Ok(None)) => false,
        // Its process does not listen yet, or no more.
        Ok(Err(_)) | Err(_) => guest.wait_until_gone(patience),
    }
}

fn gone(guest: &Guest) -> anyhow::Result<()> {
    if guest.wait_until_gone(PATIENCE) {
        return Ok(());
    }
    bail!("guest {} has ended, but not its process; `hv kill {0}` ends it", guest.name)
}

/// Ends guests at once, or sends their commands a signal.
pub(super) fn kill(guests: &Guests, arguments: &KillArguments) -> anyhow::Result<Code> {
    super::each(&arguments.names, |name| {
        let guest = guests.running(name)?;
        match arguments.signal {
            Some(number) => super::tell(guest, &Request::Signal { number }),
            None => end(guest),
        }
    })
}

/// Ends a guest by asking its process, or without asking if that does not answer.
fn end(guest: &Guest) -> anyhow::Result<()> {
    let told = guest.control().and_then(|mut client| {
        client.set_patience(ANSWER)?;
        Ok(client.request(&Request::End)?)
    });
    if told.is_ok() && guest.wait_until_gone(PATIENCE) {
        return Ok(());
    }
    let pid = guest.pid().and_then(Pid::from_raw);
    // While the lock is held, the process that wrote its number down is there.
    if let Some(pid) = pid.filter(|_| guest.is_alive()) {
        kill_process(pid, Signal::KILL).with_context(|| format!("guest {} cannot be killed", guest.name))?;
    }
    if guest.wait_until_gone(PATIENCE) {
        return Ok(());
    }
    bail!(
        "guest {} does not end; see what its process waits for: ps -o wchan {}",
        guest.name,
        guest.pid().unwrap_or(0)
    )
}

/// Waits until a guest has ended; the code is that of its `hv run`.
pub(super) fn wait(guest: &Guest) -> anyhow::Result<Code> {
    let waited = match guest.life {
        Life::Running => guest.control().map(|client| client.wait(None)),
        Life::Elsewhere => return Err(guest.out_of_reach()),
        Life::Stopped => return ended(guest),
    };
    match waited {
        Ok(Ok(Some(code))) => {
            gone(guest)?;
            Ok(Code(code))
        }
        Ok(Err(error @ ClientError::Refused(_))) => {
            Err(error).with_context(|| format!("guest {}", guest.name))
        }
        // Its process died, or does not listen yet.
        _ => {
            guest.wait_until_gone(Duration::MAX);
            ended(guest)
        }
    }
}

fn ended(guest: &Guest) -> anyhow::Result<Code> {
    match guest.end().and_then(|end| end.code) {
        Some(code) => Ok(Code(code)),
        None => bail!("how guest {} ended is not known: its process was killed", guest.name),
    }
}

/// Forgets guests.
pub(super) fn remove(guests: &Guests, arguments: &RemoveArguments) -> anyhow::Result<Code> {
    super::each(&arguments.names, |name| {
        let guest = guests.named(name)?;
        match guest.life {
            Life::Running if arguments.force => end(guest)?,
            Life::Running => bail!("guest {name} runs; `hv stop {name}` first, or use `hv rm -f {name}`"),
            Life::Elsewhere => return Err(guest.out_of_reach()),
            Life::Stopped => {}
        }
        guests.remove(name)
    })
}
