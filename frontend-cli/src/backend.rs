//! The hypervisor of this build: the only place that names one.

use backend_kvm::{Kvm, KvmVm, Probe};
use hv_core::hypervisor::Hypervisor;

use crate::doctor::Trial;

/// A machine on this host's hypervisor.
pub(crate) type Machine = hv_core::machine::Machine<KvmVm>;

/// Opens the hypervisor.
pub(crate) fn open() -> anyhow::Result<Kvm> {
    Ok(Kvm::open()?)
}

/// Whether stock guests are known to run without trying one.
pub(crate) fn is_known_to_serve() -> bool {
    backend_kvm::is_hardware_virtualization()
}

/// Runs a small guest to find out whether stock ones can run.
pub(crate) fn trial() -> Trial {
    match backend_kvm::probe() {
        Ok(Probe::Full) => Trial::Full,
        Ok(Probe::Interprets(failure)) => Trial::Interprets(failure),
        Err(error) => Trial::Refused(error.to_string()),
    }
}
