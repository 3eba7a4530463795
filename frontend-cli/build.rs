//! Builds the agent, for each architecture of guests that this `hv` can run, and leaves it where `src/agent.rs` includes it.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Variables with these beginnings are about the build of `hv`, which is for another target and in another profile.
const NOT_FOR_THE_AGENT: [&str; 12] = [
    "CARGO_BUILD_",
    "CARGO_CFG_",
    "CARGO_ENCODED_",
    "CARGO_FEATURE_",
    "CARGO_MANIFEST_",
    "CARGO_PKG_",
    "CARGO_PRIMARY_",
    "CARGO_PROFILE_",
    "CARGO_TARGET_",
    "CLIPPY_",
    "RUSTC_",
    "RUSTDOC",
];

fn main() {
    let manifest = PathBuf::from(variable("CARGO_MANIFEST_DIR"));
    let workspace = manifest.parent().expect("the crate is in a workspace");
    for source in ["agent/Cargo.toml", "agent/src", "agent-protocol/Cargo.toml", "agent-protocol/src"] {
        println!("cargo::rerun-if-changed={}", manifest.join(source).display());
    }
    for source in ["Cargo.toml", "Cargo.lock", "rust-toolchain.toml", ".cargo/config.toml"] {
        println!("cargo::rerun-if-changed={}", workspace.join(source).display());
    }
    println!("cargo::rerun-if-changed={}", manifest.join("build.rs").display());

    let out = PathBuf::from(variable("OUT_DIR"));
    let own = variable("CARGO_CFG_TARGET_ARCH");
    // The emulator runs arm64 guests on any host.
    let emulator = env::var_os("CARGO_FEATURE_EMULATOR").is_some();
    for architecture in ["x86_64", "aarch64"] {
        let wanted = own == architecture || (emulator && architecture == "aarch64");
        let include = out.join(format!("hv-init-{architecture}"));
        if wanted {
            let built = build(workspace, &target_folder(&out), architecture);
            fs::copy(&built, &include).unwrap_or_else(|error| panic!("{}: {error}", built.display()));
        } else {
            fs::write(&include, []).expect("OUT_DIR can be written");
        }
    }
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("cargo sets {name}"))
}

/// A folder in the target folder, which all profiles and targets of `hv` share. The running cargo holds the locks of the
/// folders beside it, not this one's.
fn target_folder(out: &Path) -> PathBuf {
    let target = out.ancestors().find(|folder| folder.join("CACHEDIR.TAG").is_file());
    target.unwrap_or(out).join("agent")
}

/// Builds the agent for one architecture; its file.
fn build(workspace: &Path, folder: &Path, architecture: &str) -> PathBuf {
    let target = format!("{architecture}-unknown-linux-musl");
    let mut cargo = Command::new(variable("CARGO"));
    for (name, _) in env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        if NOT_FOR_THE_AGENT.iter().any(|beginning| name.starts_with(beginning)) {
            cargo.env_remove(name);
        }
    }
    // Set, but to nothing: flags of the user's configuration are not for the guest's processor either.
    cargo.env_remove("RUSTFLAGS").env("CARGO_ENCODED_RUSTFLAGS", "");
    cargo.current_dir(workspace).args([
        "build",
        "--locked",
        "--quiet",
        "--package",
        "hv-init",
        "--profile",
        "agent",
    ]);
    cargo.args(["--target", &target, "--target-dir"]).arg(folder);
    let status = cargo.status().expect("cargo runs");
    assert!(
        status.success(),
        "the agent does not build for {target}; `rustup target add {target}` adds the target if it is missing"
    );
    folder.join(target).join("agent").join("hv-init")
}
