//! Builds the guest programs of `tests/guests` into flat images.

use std::{
    env,
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

const TARGET: &str = "x86_64-unknown-none";

fn main() {
    let guests = Path::new(&env::var("CARGO_MANIFEST_DIR").expect("cargo sets it")).join("../guests");
    let out = PathBuf::from(env::var("OUT_DIR").expect("cargo sets it")).join("x86_64");
    fs::create_dir_all(&out).expect("OUT_DIR can be written");
    println!("cargo::rerun-if-changed={}", guests.display());
    for entry in fs::read_dir(guests.join("x86_64")).expect("tests/guests/x86_64 is there") {
        let source = entry.expect("the folder can be read").path();
        if source.extension() == Some(OsStr::new("rs")) {
            build(&source, &guests.join("x86_64.ld"), &out);
        }
    }
}

fn build(source: &Path, script: &Path, out: &Path) {
    let image = out.join(source.file_stem().expect("it ends in .rs")).with_extension("bin");
    let mut rustc = Command::new(env::var("RUSTC").expect("cargo sets it"));
    rustc.args(["--edition=2024", "--crate-type=bin", "--target", TARGET, "-Copt-level=s", "-Cpanic=abort"]);
    rustc.args(["-Crelocation-model=static", "-Clink-arg=--oformat=binary"]);
    rustc.arg(format!("-Clink-arg=-T{}", script.display())).arg("-o").arg(image).arg(source);
    let status = rustc.status().expect("rustc runs");
    assert!(
        status.success(),
        "{} does not build; `rustup target add {TARGET}` adds its target",
        source.display()
    );
}
