//! Words on the command line: those that are not understood, and those that ask for help.

use crate::{
    child::{USAGE, hv, refusal},
    harness::{Case, Outcome},
};

pub(crate) const CASES: &[Case] = &[
    ("help_and_version_are_answers", help_and_version_are_answers),
    ("words_that_are_not_understood_are_usage_errors", words_that_are_not_understood_are_usage_errors),
    ("doctor_answers_what_is_so", doctor_answers_what_is_so),
];

fn help_and_version_are_answers() -> Outcome {
    for (words, expected) in [
        (&["--help"][..], "doctor"),
        (&["run", "--help"], "--kernel"),
        (&["run", "--help"], "Ctrl-A x"),
        (&["--version"], concat!("hv ", env!("CARGO_PKG_VERSION"))),
    ] {
        let output = hv(words).output().unwrap();
        assert_eq!(output.status.code(), Some(0));
        assert!(output.stderr.is_empty());
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains(expected), "{text}");
    }
    Outcome::Passed
}

fn words_that_are_not_understood_are_usage_errors() -> Outcome {
    for (words, expected) in [
        (&[][..], "subcommand"),
        (&["rum"], "rum"),
        (&["run"], "--kernel"),
        (&["run", "--kernel"], "--kernel"),
        (&["run", "image", "ls"], "ls"),
        (&["run", "--kernel", "k", "--", "ls"], "IMAGE"),
        (&["run", "--kernel", "k", "--memroy", "1G"], "--memroy"),
        (&["run", "--kernel", "k", "--cpus", "0"], "1..=64"),
        (&["run", "--kernel", "k", "--cpus", "65"], "65"),
        (&["run", "--kernel", "k", "--cpus", "two"], "two"),
        (&["run", "--kernel", "k", "--memory", "0M"], "512M"),
        (&["run", "--kernel", "k", "--memory", "512"], "unit"),
        (&["run", "--kernel", "k", "--memory", "99999999999999999999G"], "512M"),
        (&["run", "--kernel", "k", "--cpu-quota", "0"], "1.5 or 50%"),
        (&["run", "--kernel", "k", "--disk", "d,bw=50"], "50M"),
        (&["run", "--kernel", "k", "--disk", "d,iops=many"], "500"),
        (&["run", "--kernel", "k", "--timeout", "90"], "90s"),
        (&["run", "--kernel", "k", "--timeout", "0s"], "0s"),
        (&["run", "--kernel", "k", "--disk", "d,format=qcow2"], "qcow2"),
        (&["run", "--kernel", "k", "--disk", "d,serial=123456789012345678901"], "serial"),
        (&["run", "--kernel", "k", "--console", "tcp"], "stdio"),
        (&["run", "--kernel", "k", "--transport", "isa"], "mmio"),
        (&["run", "--kernel", "k", "--on-reboot", "never"], "restart"),
        (&["run", "--kernel", "k", "--accel", "tcg"], "kvm"),
        (&["run", "--kernel", "k", "--machine", "pc"], "hv-1"),
        (&["run", "--kernel", "a\nb", "--cpus", "a\nb"], "a b"),
    ] {
        let line = refusal(&mut hv(words), USAGE);
        assert!(line.contains(expected) && line.contains("--help"), "{words:?}: {line}");
    }
    Outcome::Passed
}

/// The code of `hv doctor` says what its last line says.
fn doctor_answers_what_is_so() -> Outcome {
    let output = hv(&["doctor"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let expected = match output.status.code() {
        Some(0) => "This host can run guests.",
        _ => "This host cannot yet run guests.",
    };
    assert_eq!(text.lines().last(), Some(expected));
    let problems = text.lines().filter(|line| line.starts_with("problem ")).count();
    assert_eq!(text.lines().filter(|line| line.starts_with("cure ")).count(), problems, "{text}");
    assert_eq!(problems == 0, output.status.success(), "{text}");
    Outcome::Passed
}
