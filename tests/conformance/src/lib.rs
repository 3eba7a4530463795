//! What every backend must do: cases generic over the hypervisor, on small guest programs (`tests/guests`).
//!
//! A backend's `tests/conformance.rs` calls [`run`]. A case that the host cannot run is reported as skipped, with
//! the reason. The output is that of `cargo test`, so that the same eyes and scripts read it.

mod aarch64;
mod cases;
mod harness;
mod rig;
mod x86_64;

use std::process::ExitCode;

pub use harness::{Case, Needs};
use hv_core::hypervisor::{ArchOf, Hypervisor};
pub use rig::{Program, Programs};

/// What the host is.
#[derive(Debug, Clone)]
pub enum Host {
    /// It runs any guest.
    Full,
    /// It runs any guest that does without some things; says why it lacks each.
    Lacks(Vec<(Needs, String)>),
    /// It runs some guests; says what it lacks.
    Partial(String),
    /// It runs none; says why.
    Missing(String),
}

/// Runs every case, or those whose names contain one of the words on the command line.
pub fn run<H: Hypervisor + 'static>(host: &Host) -> ExitCode
where
    ArchOf<H>: Programs,
{
    let mut cases = cases::all::<H>();
    cases.extend(<ArchOf<H> as Programs>::cases::<H>());
    harness::run(host, &cases)
}
