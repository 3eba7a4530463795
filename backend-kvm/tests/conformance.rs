//! The conformance suite on this host's KVM.

use std::process::ExitCode;

use backend_kvm::{Kvm, Probe, probe};
use hv_conformance::Host;

fn main() -> ExitCode {
    let host = match probe() {
        Ok(Probe::Full) if cfg!(target_arch = "aarch64") => {
            Host::WithoutDecoder("KVM on arm64 knows only accesses that the processor describes".to_owned())
        }
        Ok(Probe::Full) => Host::Full,
        Ok(interprets @ Probe::Interprets(_)) => Host::Partial(interprets.to_string()),
        Err(error) => Host::Missing(error.to_string()),
    };
    hv_conformance::run::<Kvm>(&host)
}
