//! Builds the hostile guest of `tests/guests/hostile` into a flat image, for every architecture on every host.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

/// Architectures, and where their kernels are loaded.
const ARCHITECTURES: [(&str, &str); 2] = [("x86_64", "0x100000"), ("aarch64", "0x80100000")];

fn main() {
    let source = Path::new(&env::var("CARGO_MANIFEST_DIR").expect("cargo sets it")).join("../guests/hostile");
    let out = PathBuf::from(env::var("OUT_DIR").expect("cargo sets it"));
    println!("cargo::rerun-if-changed={}", source.display());
    for (architecture, base) in ARCHITECTURES {
        let target = format!("{architecture}-unknown-none");
        let mut rustc = Command::new(env::var("RUSTC").expect("cargo sets it"));
        rustc.args(["--edition=2024", "--crate-type=bin", "--crate-name=hostile", "--target", &target]);
        rustc.args(["-Copt-level=s", "-Cpanic=abort", "-Ccodegen-units=1", "-Crelocation-model=static"]);
        rustc.args(["-Clink-arg=--oformat=binary", &format!("-Clink-arg=--defsym=BASE={base}")]);
        rustc.arg(format!("-Clink-arg=-T{}", source.join("hostile.ld").display()));
        rustc.arg("-o").arg(out.join(format!("hostile-{architecture}.bin"))).arg(source.join("main.rs"));
        let status = rustc.status().expect("rustc runs");
        assert!(
            status.success(),
            "the hostile guest does not build for {target}; `rustup target add {target}` adds the target if it is missing"
        );
    }
}
