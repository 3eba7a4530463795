//! KVM: how it is opened and found out about.

mod device;

use std::path::Path;

use backend_kvm::Probe;

use crate::{
    args::Accelerator,
    doctor::{Finding, Verdict},
};

/// The hypervisor of this host.
pub(super) use backend_kvm::Kvm as Native;
/// Its name on the command line.
pub(super) const ACCELERATOR: Accelerator = Accelerator::Kvm;
/// What it is to the sandbox.
pub(super) const RUNS_ON: hv_sandbox::Hypervisor = hv_sandbox::Hypervisor::Native;

/// What a run of a small guest showed.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Trial {
    /// KVM runs any guest.
    Full,
    /// KVM runs guests made for it and interprets others, failing at this.
    Interprets(String),
    /// KVM cannot run guests, for this reason.
    Refused(String),
}

/// Looks at `/dev/kvm` and runs a small guest; in a hurry only where the answer is not known without.
pub(super) fn examine(brief: bool) -> Vec<Finding> {
    examine_below(Path::new("/"), || match backend_kvm::is_hardware_virtualization() && brief {
        true => Trial::Full,
        false => trial(),
    })
}

fn trial() -> Trial {
    match backend_kvm::probe() {
        Ok(Probe::Full) => Trial::Full,
        Ok(Probe::Interprets(failure)) => Trial::Interprets(failure),
        Err(error) => Trial::Refused(error.to_string()),
    }
}

/// Examines the host whose files are below `root`. No guest is tried where KVM cannot even be opened.
fn examine_below(root: &Path, trial: impl FnOnce() -> Trial) -> Vec<Finding> {
    let device = Finding { subject: "/dev/kvm", verdict: device::examine(root) };
    if device.is_sound() {
        vec![device, Finding { subject: "KVM", verdict: verdict(trial()) }]
    } else {
        vec![device]
    }
}

fn verdict(trial: Trial) -> Verdict {
    match trial {
        Trial::Full => Verdict::Sound("runs stock guests".to_owned()),
        Trial::Interprets(failure) => Verdict::Problem {
            what: format!("it only interprets stock guests, and fails at {failure}"),
            cure: "use a host with hardware virtualization (inside a virtual machine: nested virtualization), or \
                   `hv run --accel kvm` with a guest kernel made for this KVM"
                .to_owned(),
        },
        Trial::Refused(reason) => Verdict::Problem {
            what: format!("it cannot run a guest: {reason}"),
            cure: "update the host's kernel, or look in its log (`dmesg`)".to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A host with an openable /dev/kvm.
    fn host() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("dev")).unwrap();
        fs::write(root.path().join("dev/kvm"), "").unwrap();
        root
    }

    fn obstacle(findings: &[Finding]) -> Option<String> {
        findings.iter().find_map(Finding::obstacle)
    }

    #[test]
    fn a_sound_host_has_no_obstacle() {
        let findings = examine_below(host().path(), || Trial::Full);
        assert!(findings.len() == 2 && findings.iter().all(Finding::is_sound), "{findings:?}");
        assert_eq!(obstacle(&findings), None);
    }

    #[test]
    fn a_kvm_that_interprets_is_refused_with_its_failure_and_a_cure() {
        let findings = examine_below(host().path(), || Trial::Interprets("CMPXCHG16B".to_owned()));
        let line = obstacle(&findings).unwrap();
        assert!(line.contains("only interprets stock guests") && line.contains("CMPXCHG16B"), "{line}");
        assert!(line.contains("--accel kvm") && !line.contains('\n'), "{line}");
    }

    #[test]
    fn without_the_device_no_guest_is_tried() {
        let root = host();
        fs::remove_file(root.path().join("dev/kvm")).unwrap();
        let findings = examine_below(root.path(), || unreachable!("there is no KVM"));
        assert!(obstacle(&findings).unwrap().contains("/dev/kvm"));
    }
}
