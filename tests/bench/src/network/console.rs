//! `Console`: a guest's console as lines, typed and read, with a deadline for each wait.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};

/// A VMM with its guest's console on its standard input and output. Killed when dropped.
pub(super) struct Console {
    child: Child,
    input: ChildStdin,
    lines: Receiver<String>,
}

impl Console {
    pub(super) fn start(mut command: Command) -> Result<Self> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("cannot run {command:?}"))?;
        let input = child.stdin.take().context("no standard input")?;
        let output = child.stdout.take().context("no standard output")?;
        let (tell, lines) = channel();
        thread::spawn(move || {
            for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
                if tell.send(String::from_utf8_lossy(&line).trim().to_owned()).is_err() {
                    return;
                }
            }
        });
        Ok(Self { child, input, lines })
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The lines up to the one that is waited for.
    pub(super) fn wait_for(
        &mut self,
        is_it: impl Fn(&str) -> bool,
        patience: Duration,
    ) -> Result<Vec<String>> {
        let deadline = Instant::now() + patience;
        let mut seen = Vec::new();
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => seen.push(line),
                Err(error) => {
                    bail!("the guest did not come so far in {patience:?} ({error}), but said {seen:?}")
                }
            }
            if seen.last().is_some_and(|line| is_it(line)) {
                return Ok(seen);
            }
        }
    }

    /// Types a command.
    pub(super) fn send(&mut self, line: &str) -> Result<()> {
        Ok(writeln!(self.input, "{line}")?)
    }

    /// What the command says until its end, which must be a good one.
    pub(super) fn ended(&mut self, patience: Duration) -> Result<Vec<String>> {
        let mut seen = self.wait_for(|line| line.starts_with("=> "), patience)?;
        let end = seen.pop().unwrap_or_default();
        ensure!(end == "=> 0", "a command in the guest ended with {end:?} and said {seen:?}");
        Ok(seen)
    }

    /// Runs a command; what it says.
    pub(super) fn run(&mut self, line: &str, patience: Duration) -> Result<Vec<String>> {
        self.send(line)?;
        self.ended(patience).with_context(|| line.to_owned())
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
