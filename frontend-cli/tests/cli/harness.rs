//! Runs cases, and counts those that passed, failed and could not run apart.

use std::{env, panic, process::ExitCode};

/// A test's name and what it does.
pub(crate) type Case = (&'static str, fn() -> Outcome);

/// How a case ended that did not panic.
pub(crate) enum Outcome {
    Passed,
    /// It cannot run here, for this reason.
    Skipped(String),
}

/// Runs the cases whose name holds one of the words of the command line; all if there are none.
pub(crate) fn run(cases: &[Case]) -> ExitCode {
    let words: Vec<String> = env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let wanted = |name: &str| words.is_empty() || words.iter().any(|word| name.contains(word));
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    for (name, case) in cases.iter().filter(|(name, _)| wanted(name)) {
        let verdict = match panic::catch_unwind(case) {
            Ok(Outcome::Passed) => {
                passed += 1;
                "ok".to_owned()
            }
            Ok(Outcome::Skipped(reason)) => {
                skipped += 1;
                format!("skipped ({reason})")
            }
            Err(_) => {
                failed += 1;
                "FAILED".to_owned()
            }
        };
        println!("test {name} ... {verdict}");
    }
    let verdict = if failed == 0 { "ok" } else { "FAILED" };
    println!("\ntest result: {verdict}. {passed} passed; {failed} failed; {skipped} ignored");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
