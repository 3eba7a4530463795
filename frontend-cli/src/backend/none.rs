//! No hypervisor of the host: what a build for a Mac that emulates has instead.

use crate::{
    args::Accelerator,
    doctor::{Finding, Verdict},
};

/// Guests that nevertheless ask for the host's own hypervisor get what there is.
pub(super) use backend_hvf::Hvf as Native;
/// Its name on the command line.
pub(super) const ACCELERATOR: Accelerator = Accelerator::Emulated;
/// What it is to the sandbox.
pub(super) const RUNS_ON: hv_sandbox::Hypervisor = hv_sandbox::Hypervisor::Emulator;

/// Says why there is none.
pub(super) fn examine(_brief: bool) -> Vec<Finding> {
    let verdict = Verdict::Problem {
        what: "this hv was built to emulate".to_owned(),
        cure: "build it without `--features emulator`".to_owned(),
    };
    vec![Finding { subject: "Hypervisor.framework", verdict }]
}
