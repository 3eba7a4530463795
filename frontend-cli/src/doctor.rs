//! `hv doctor`: whether this host can run guests, and what to do if it cannot.

mod network;

use std::{
    fmt,
    io::{self, Write},
    process::ExitCode as Code,
};

use crate::{backend, exit_code::ExitCode, host_memory::HostMemory, sandbox};

/// Less than this for guests is too little: a distribution's kernel and initrd need it to start.
const LEAST_MEMORY: u64 = 256 << 20;

/// Prints the report.
pub(crate) fn doctor() -> Code {
    let mut report = Report::new(backend::examine(false), HostMemory::of_this_host(), backend::HAS_EMULATOR);
    report.findings.extend(network::examine());
    report.findings.extend(sandbox::examine());
    // A reader that left early, as `head` does, has seen enough.
    let _ = writeln!(io::stdout(), "{report}");
    if report.is_sound() { Code::SUCCESS } else { ExitCode::Failed.into() }
}

/// What was found out about one thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) subject: &'static str,
    pub(crate) verdict: Verdict,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is as it should be.
    Sound(String),
    /// Guests run, but not with all that they could have.
    Note { what: String, cure: String },
    /// Guests cannot run until it is cured.
    Problem { what: String, cure: String },
}

impl Finding {
    /// Whether guests can run in spite of it.
    pub(crate) fn is_sound(&self) -> bool {
        !matches!(self.verdict, Verdict::Problem { .. })
    }

    /// What keeps guests from running, as one line with its cure.
    pub(crate) fn obstacle(&self) -> Option<String> {
        match &self.verdict {
            Verdict::Sound(_) | Verdict::Note { .. } => None,
            Verdict::Problem { what, cure } => Some(format!("{}: {what}; {cure}", self.subject)),
        }
    }
}

/// All that was found out, most fundamental first.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Report {
    findings: Vec<Finding>,
    /// What is not there can be emulated.
    has_emulator: bool,
}

impl Report {
    fn new(hypervisor: Vec<Finding>, host: Option<HostMemory>, has_emulator: bool) -> Self {
        let mut findings = hypervisor;
        findings.extend(host.map(memory));
        Self { findings, has_emulator }
    }

    /// Whether guests can run on the host's own hypervisor.
    fn is_sound(&self) -> bool {
        self.findings.iter().all(Finding::is_sound)
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
        for Finding { subject, verdict } in &self.findings {
            match verdict {
                Verdict::Sound(what) => writeln!(f, "ok       {subject}: {what}")?,
                Verdict::Note { what, cure } => writeln!(f, "note     {subject}: {what}; {cure}")?,
                Verdict::Problem { what, cure } => {
                    writeln!(f, "problem  {subject}: {what}")?;
                    writeln!(f, "cure     {cure}")?;
                }
            }
        }
        if self.has_emulator {
            writeln!(f, "ok       emulator: runs arm64 guests, slowly, on any host (--accel emulated)")?;
        }
        let can = if self.is_sound() { "can" } else { "cannot yet" };
        write!(f, "This host {can} run guests.")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sound() -> Vec<Finding> {
        vec![Finding { subject: "KVM", verdict: Verdict::Sound("runs stock guests".to_owned()) }]
    }

    fn memory_of(mib: u64) -> Option<HostMemory> {
        Some(HostMemory { limit: 8192 << 20, available: mib << 20 })
    }

    #[test]
    fn a_sound_host_can_run_guests() {
        let report = Report::new(sound(), memory_of(4096), false);
        assert!(report.is_sound());
        assert!(report.to_string().ends_with("\nThis host can run guests."), "{report}");
    }

    #[test]
    fn a_problem_is_told_with_its_cure() {
        let verdict = Verdict::Problem { what: "there is none".to_owned(), cure: "buy one".to_owned() };
        let finding = Finding { subject: "/dev/kvm", verdict };
        assert_eq!(finding.obstacle().unwrap(), "/dev/kvm: there is none; buy one");
        let report = Report::new(vec![finding], memory_of(4096), true).to_string();
        assert!(report.contains("problem  /dev/kvm: there is none\ncure     buy one\n"), "{report}");
        assert!(report.contains("emulator") && report.ends_with("cannot yet run guests."), "{report}");
    }

    #[test]
    fn a_note_keeps_nobody_from_running_guests() {
        let verdict = Verdict::Note { what: "no route".to_owned(), cure: "make one".to_owned() };
        let mut findings = sound();
        findings.push(Finding { subject: "network", verdict });
        let report = Report::new(findings, memory_of(4096), false);
        assert!(report.is_sound());
        assert!(report.to_string().contains("\nnote     network: no route; make one\n"), "{report}");
    }

    #[test]
    fn little_free_memory_is_told() {
        let report = Report::new(sound(), memory_of(100), false);
        assert!(!report.is_sound() && report.to_string().contains("only 100 MiB"), "{report}");
    }
}
