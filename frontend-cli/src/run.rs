//! `hv run` and `hv doctor`.

use std::process::ExitCode as Code;

use anyhow::bail;
use backend_kvm::Probe;

use crate::{
    args::{Accelerator, RunArguments},
    config::{self, Files},
    doctor::{Report, Trial},
    exit_code::ExitCode,
};

/// Runs a guest until it ends.
pub(crate) fn run(arguments: &RunArguments) -> anyhow::Result<Code> {
    let _files = Files::open(arguments)?;
    config::check_memory(arguments.memory)?;
    if arguments.accel == Accelerator::Auto
        && let Some(obstacle) = Report::new(trial).obstacle()
    {
        bail!("{obstacle}");
    }
    bail!("there is no machine yet; build a later version")
}

/// Says whether this host can run guests.
pub(crate) fn doctor() -> Code {
    let report = Report::new(trial);
    println!("{report}");
    if report.is_sound() { Code::SUCCESS } else { ExitCode::Failed.into() }
}

fn trial() -> Trial {
    match backend_kvm::probe() {
        Ok(Probe::Full) => Trial::Full,
        Ok(Probe::Interprets(failure)) => Trial::Interprets(failure),
        Err(error) => Trial::Refused(error.to_string()),
    }
}
