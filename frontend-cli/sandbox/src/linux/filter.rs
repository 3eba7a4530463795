//! From rules to programs of seccomp (`seccomp(2)`), and onto the calling thread.

use std::{collections::BTreeMap, env::consts::ARCH, fs};

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, SeccompRule, TargetArch};

use crate::{Error, Mode, Part};

/// What is allowed: system calls by number, each with rules of which one must hold; none means always.
pub(super) type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// A program that allows what `rules` say.
pub(super) fn compile(rules: Rules, mode: Mode) -> Result<BpfProgram, Error> {
    let otherwise = if mode == Mode::Log { SeccompAction::Log } else { SeccompAction::Trap };
    program(rules, otherwise, SeccompAction::Allow)
}

/// A program that has the host say that it does not know `clone3`, whose flags no filter can see; libraries fall back to `clone`.
pub(super) fn without_clone3() -> Result<BpfProgram, Error> {
    let unknown = SeccompAction::Errno(libc::ENOSYS.unsigned_abs());
    program(Rules::from([(libc::SYS_clone3, Vec::new())]), SeccompAction::Allow, unknown)
}

fn program(rules: Rules, otherwise: SeccompAction, matched: SeccompAction) -> Result<BpfProgram, Error> {
    let fail = |error: seccompiler::BackendError| Error::new("seccomp", error);
    let target = TargetArch::try_from(ARCH).map_err(fail)?;
    SeccompFilter::new(rules, otherwise, matched, target).and_then(TryInto::try_into).map_err(fail)
}

/// Puts `program` onto the calling thread, and onto those that it makes.
pub(super) fn install(program: &BpfProgram) -> Result<(), Error> {
    seccompiler::apply_filter(program).map_err(|error| Error::new("seccomp", error))
}

/// Whether this kernel has filters: it was built with or without seccomp, not with half of it.
pub(super) fn is_supported() -> bool {
    // Asking by `prctl` ends a process whose own filter does not expect it.
    fs::read_to_string("/proc/self/status").is_ok_and(|status| status.contains("\nSeccomp:"))
}

pub(super) fn support() -> Part {
    let name = "seccomp";
    if is_supported() {
        Part { name, has: "system calls are filtered by kind of thread".to_owned(), lacks: None }
    } else {
        let lacks = "this kernel has no seccomp, so no system call is refused";
        Part { name, has: "nothing".to_owned(), lacks: Some(lacks.to_owned()) }
    }
}
