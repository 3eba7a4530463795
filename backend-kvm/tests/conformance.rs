//! The conformance suite on this host's KVM.

use std::{env, process::ExitCode};

use backend_kvm::{Kvm, Probe, probe};
use hv_conformance::{Host, Needs};

/// What KVM on arm64 lacks, and the emulated processor of `ci/box`.
fn arm64_lacks() -> Vec<(Needs, String)> {
    let mut lacks =
        vec![(Needs::Decoder, "KVM on arm64 knows only accesses that the processor describes".to_owned())];
    if env::var_os("HV_IN_BOX").is_some() {
        lacks.push((
            Needs::Signs,
            "QEMU's processor hides that a load extends the sign (ESR_EL2.SSE)".to_owned(),
        ));
    }
    lacks
}

fn main() -> ExitCode {
    let host = match probe() {
        Ok(Probe::Full) if cfg!(target_arch = "aarch64") => Host::Lacks(arm64_lacks()),
        Ok(Probe::Full) => Host::Full,
        Ok(interprets @ Probe::Interprets(_)) => Host::Partial(interprets.to_string()),
        Err(error) => Host::Missing(error.to_string()),
    };
    hv_conformance::run::<Kvm>(&host)
}
