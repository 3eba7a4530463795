//! `hv.toml` in a folder and by name.

use std::{fs, path::Path};

use crate::{
    child::{FAILED, USAGE, hv, refusal},
    guest::{GREET, POWER_OFF, kernel, with_kvm},
    harness::{Case, Outcome},
};

pub(crate) const CASES: &[Case] =
    &[("a_manifest_says_what_to_run", || with_kvm(run)), ("mistakes_in_a_manifest_have_a_place", mistakes)];

fn run(folder: &Path) {
    kernel(folder, &[GREET, POWER_OFF], 0);
    fs::write(folder.join("hv.toml"), "kernel = \"kernel\"\nmemory = \"64M\"\naccel = \"kvm\"\n").unwrap();
    let shown = |words: &[&str], place: &Path| hv(words).current_dir(place).output().unwrap();
    let output = shown(&["run"], folder);
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(0), &b">"[..]), "{output:?}");
    assert_eq!(shown(&["run", "--config", "hv.toml", "--cpus", "2"], folder).stdout, b">");
    let other = refusal(hv(&["run", "--kernel", "other"]).current_dir(folder), FAILED);
    assert!(other.contains("kernel other"), "{other}");
    let larger = refusal(hv(&["run", "--memory", "4000T"]).current_dir(folder), FAILED);
    assert!(larger.contains("4194304000M"), "{larger}");
}

fn mistakes() -> Outcome {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("hv.toml"), "kernel = 'k'\n\n  cpuz = 2\n").unwrap();
    let line = refusal(hv(&["run"]).current_dir(folder.path()), USAGE);
    assert!(line.starts_with("hv: hv.toml:3:3: ") && line.contains("`cpus`"), "{line}");
    let line = refusal(hv(&["run", "--config", "none.toml"]).current_dir(folder.path()), USAGE);
    assert!(line.contains("none.toml") && line.contains("check the path"), "{line}");
    Outcome::Passed
}
