//! Hypervisor.framework: how it is opened and found out about.

use hv_core::hypervisor::Hypervisor;

use crate::{
    args::Accelerator,
    doctor::{Finding, Verdict},
};

/// The hypervisor of this host.
pub(super) use backend_hvf::Hvf as Native;
/// Its name on the command line.
pub(super) const ACCELERATOR: Accelerator = Accelerator::Hvf;
/// What it is to the sandbox.
pub(super) const RUNS_ON: hv_sandbox::Hypervisor = hv_sandbox::Hypervisor::Native;

/// Asks the framework whether it runs guests for this binary.
pub(super) fn examine(_brief: bool) -> Vec<Finding> {
    let verdict = match Native::open() {
        Ok(_) => Verdict::Sound("runs guests".to_owned()),
        Err(error) => {
            let said = error.to_string();
            let (what, cure) = said.split_once("; ").unwrap_or((&said, "run `hv doctor` on another Mac"));
            Verdict::Problem { what: what.to_owned(), cure: cure.to_owned() }
        }
    };
    vec![Finding { subject: "Hypervisor.framework", verdict }]
}
