//! Builds the guest programs of `tests/guests` into flat images, for every architecture on every host.

use std::{
    env,
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

const ARCHITECTURES: [&str; 2] = ["x86_64", "aarch64"];

fn main() {
    let guests = Path::new(&env::var("CARGO_MANIFEST_DIR").expect("cargo sets it")).join("../guests");
    let out = PathBuf::from(env::var("OUT_DIR").expect("cargo sets it"));
    println!("cargo::rerun-if-changed={}", guests.display());
    for architecture in ARCHITECTURES {
        let out = out.join(architecture);
        fs::create_dir_all(&out).expect("OUT_DIR can be written");
        for folder in ["common", architecture] {
            for entry in fs::read_dir(guests.join(folder)).expect("tests/guests has this folder") {
                let source = entry.expect("the folder can be read").path();
                if source.extension() == Some(OsStr::new("rs")) {
                    build(&source, &format!("{architecture}-unknown-none"), &guests.join("guest.ld"), &out);
                }
            }
        }
    }
}

fn build(source: &Path, target: &str, script: &Path, out: &Path) {
    let image = out.join(source.file_stem().expect("it ends in .rs")).with_extension("bin");
    let mut rustc = Command::new(env::var("RUSTC").expect("cargo sets it"));
    rustc.args(["--edition=2024", "--crate-type=bin", "--target", target, "-Copt-level=s", "-Cpanic=abort"]);
    rustc.args(["-Crelocation-model=static", "-Clink-arg=--oformat=binary"]);
    rustc.arg(format!("-Clink-arg=-T{}", script.display())).arg("-o").arg(image).arg(source);
    let status = rustc.status().expect("rustc runs");
    assert!(
        status.success(),
        "{} does not build for {target}; `rustup target add {target}` adds the target if it is missing",
        source.display()
    );
}
