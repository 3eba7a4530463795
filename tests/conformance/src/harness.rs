//! Runs cases one after the other and reports them as `cargo test` does.

use std::{env, process::ExitCode, sync::mpsc, thread, time::Duration};

use crate::Host;

/// A case that takes longer hangs: a kick or an interrupt was lost. Emulated machines are slow.
const PATIENCE: Duration = Duration::from_secs(120);

/// One thing that a backend must do.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    name: &'static str,
    needs: Needs,
    run: fn(),
}

/// What a case needs of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// Simple instructions in the processor's basic mode.
    Little,
    /// A host that runs stock guests: interrupts, timers, any instruction.
    Full,
    /// A backend that reads instructions whose access the processor does not describe.
    Decoder,
    /// A processor that says whether a load extends the sign.
    Signs,
}

enum Outcome {
    Passed,
    Failed,
    Hangs,
    Skipped(String),
}

impl Case {
    /// A case that panics if the backend fails it.
    pub const fn new(name: &'static str, needs: Needs, run: fn()) -> Self {
        Self { name, needs, run }
    }

    fn outcome(&self, host: &Host) -> Outcome {
        let reason = match (host, self.needs) {
            (Host::Missing(reason), _) | (Host::Partial(reason), Needs::Full) => Some(reason),
            (Host::Lacks(lacks), needs) => {
                lacks.iter().find(|(lack, _)| *lack == needs).map(|(_, reason)| reason)
            }
            _ => None,
        };
        reason.map_or_else(|| self.attempt(), |reason| Outcome::Skipped(reason.clone()))
    }

    fn attempt(&self) -> Outcome {
        let (ended, end) = mpsc::channel::<()>();
        let run = self.run;
        let case = thread::spawn(move || {
            let _ended = ended;
            run();
        });
        if end.recv_timeout(PATIENCE) == Err(mpsc::RecvTimeoutError::Timeout) {
            return Outcome::Hangs;
        }
        if case.join().is_ok() { Outcome::Passed } else { Outcome::Failed }
    }
}

pub(crate) fn run(host: &Host, cases: &[Case]) -> ExitCode {
    let words: Vec<String> = env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let chosen =
        |case: &&Case| words.is_empty() || words.iter().any(|word| case.name.contains(word.as_str()));
    let listed = env::args().any(|argument| argument == "--list");
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    for case in cases.iter().filter(chosen) {
        if listed {
            println!("{}: test", case.name);
            continue;
        }
        match case.outcome(host) {
            Outcome::Passed => (passed, _) = (passed + 1, println!("test {} ... ok", case.name)),
            Outcome::Failed => (failed, _) = (failed + 1, println!("test {} ... FAILED", case.name)),
            Outcome::Skipped(reason) => {
                (skipped, _) = (skipped + 1, println!("test {} ... ignored, {reason}", case.name));
            }
            Outcome::Hangs => {
                // Its thread cannot be ended.
                println!("test {} ... FAILED: no end after {} s", case.name, PATIENCE.as_secs());
                return ExitCode::FAILURE;
            }
        }
    }
    let result = if failed == 0 { "ok" } else { "FAILED" };
    println!("\ntest result: {result}. {passed} passed; {failed} failed; {skipped} ignored");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
