//! `hv doctor`: whether this host can run guests, and what to do if it cannot.

mod kvm_device;

use std::{
    fmt,
    io::{self, Write},
    path::Path,
    process::ExitCode as Code,
};

use crate::{backend, exit_code::ExitCode, host_memory::HostMemory};

/// Less than this for guests is too little: a distribution's kernel and initrd need it to start.
const LEAST_MEMORY: u64 = 256 << 20;

/// Prints the report.
pub(crate) fn doctor() -> Code {
    let report = Report::new(backend::trial);
    // A reader that left early, as `head` does, has seen enough.
    let _ = writeln!(io::stdout(), "{report}");
    if report.is_sound() { Code::SUCCESS } else { ExitCode::Failed.into() }
}

/// What was found out about one thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    subject: &'static str,
    verdict: Verdict,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Verdict {
    /// It is as it should be.
    Sound(String),
    /// Guests cannot run until it is cured.
    Problem { what: String, cure: String },
}

/// All that was found out, most fundamental first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Report(Vec<Finding>);

/// What a run of a small guest showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Trial {
    /// KVM runs any guest.
    Full,
    /// KVM runs guests made for it and interprets others, failing at this.
    Interprets(String),
    /// KVM cannot run guests, for this reason.
    Refused(String),
}

impl Report {
    /// Examines this host. `trial` runs a guest; it is not tried where KVM cannot even be opened.
    pub(crate) fn new(trial: impl FnOnce() -> Trial) -> Self {
        Self::of(Path::new("/"), trial)
    }

    fn of(root: &Path, trial: impl FnOnce() -> Trial) -> Self {
        let device = Finding { subject: "/dev/kvm", verdict: kvm_device::examine(root) };
        let mut findings = vec![device];
        if findings.iter().all(Finding::is_sound) {
            findings.push(Finding { subject: "KVM", verdict: trial_verdict(trial()) });
        }
        findings.extend(HostMemory::read(root).map(memory));
        Self(findings)
    }

    /// As [`new`](Self::new), for a run that is in a hurry: no guest is tried where the answer is known.
    pub(crate) fn brief() -> Self {
        Self::new(|| if backend::is_known_to_serve() { Trial::Full } else { backend::trial() })
    }

    /// Whether guests can run.
    pub(crate) fn is_sound(&self) -> bool {
        self.0.iter().all(Finding::is_sound)
    }

    /// The first thing that keeps KVM from running guests, as one line with its cure.
    pub(crate) fn obstacle(&self) -> Option<String> {
        self.0.iter().filter(|finding| finding.subject != "memory").find_map(|finding| {
            match &finding.verdict {
                Verdict::Sound(_) => None,
                Verdict::Problem { what, cure } => Some(format!("{}: {what}; {cure}", finding.subject)),
            }
        })
    }
}

impl Finding {
    fn is_sound(&self) -> bool {
        matches!(self.verdict, Verdict::Sound(_))
    }
}

fn trial_verdict(trial: Trial) -> Verdict {
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

fn memory(host: HostMemory) -> Finding {
    let (available, limit) = (host.available >> 20, host.limit >> 20);
    let verdict = if host.available < LEAST_MEMORY {
        Verdict::Problem {
            what: format!("only {available} MiB of {limit} MiB are free"),
            cure: format!("end other programs until {} MiB are", LEAST_MEMORY >> 20),
        }
    } else {
        Verdict::Sound(format!("{available} MiB of {limit} MiB are free for guests"))
    };
    Finding { subject: "memory", verdict }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Finding { subject, verdict } in &self.0 {
            match verdict {
                Verdict::Sound(what) => writeln!(f, "ok       {subject}: {what}")?,
                Verdict::Problem { what, cure } => {
                    writeln!(f, "problem  {subject}: {what}")?;
                    writeln!(f, "cure     {cure}")?;
                }
            }
        }
        let can = if self.is_sound() { "can" } else { "cannot yet" };
        write!(f, "This host {can} run guests.")
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A host with an openable /dev/kvm and this much free memory.
    fn host(free_mib: u64) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("dev")).unwrap();
        fs::create_dir_all(root.path().join("proc")).unwrap();
        fs::write(root.path().join("dev/kvm"), "").unwrap();
        let meminfo = format!("MemTotal: 8388608 kB\nMemAvailable: {} kB\n", free_mib * 1024);
        fs::write(root.path().join("proc/meminfo"), meminfo).unwrap();
        root
    }

    #[test]
    fn a_sound_host_can_run_guests() {
        let report = Report::of(host(4096).path(), || Trial::Full);
        assert!(report.is_sound());
        assert_eq!(report.obstacle(), None);
        assert!(report.to_string().ends_with("\nThis host can run guests."), "{report}");
    }

    #[test]
    fn a_kvm_that_interprets_is_refused_with_its_failure_and_a_cure() {
        let report = Report::of(host(4096).path(), || Trial::Interprets("CMPXCHG16B".to_owned()));
        let line = report.obstacle().unwrap();
        assert!(line.contains("only interprets stock guests") && line.contains("CMPXCHG16B"), "{line}");
        assert!(line.contains("--accel kvm") && !line.contains('\n'), "{line}");
        assert!(report.to_string().contains("\ncure "), "{report}");
    }

    #[test]
    fn without_the_device_no_guest_is_tried() {
        let root = host(4096);
        fs::remove_file(root.path().join("dev/kvm")).unwrap();
        let report = Report::of(root.path(), || unreachable!("there is no KVM"));
        assert!(report.obstacle().unwrap().contains("/dev/kvm"));
    }

    #[test]
    fn little_free_memory_is_told_but_does_not_stop_small_guests() {
        let report = Report::of(host(100).path(), || Trial::Full);
        assert!(!report.is_sound() && report.to_string().contains("only 100 MiB"), "{report}");
        assert_eq!(report.obstacle(), None);
    }
}
