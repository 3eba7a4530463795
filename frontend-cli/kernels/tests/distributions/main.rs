//! Debian's own kernels, imported from folders and from packages made of them, and compared with `modprobe`.

mod modprobe;
mod package;

use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result, ensure};
use hv_kernels::{Architecture, Feature, Kernel, Store};
use libtest_mimic::{Arguments, Failed, Trial};

/// The kernels that `ci/kernels` fetches, with their architecture.
const KERNELS: &[(&str, Architecture)] = &[
    ("bookworm", Architecture::X86_64),
    ("trixie-backports-cloud", Architecture::X86_64),
    ("arm64-bookworm", Architecture::Aarch64),
    ("arm64-trixie-backports-cloud", Architecture::Aarch64),
];

/// A kernel as `ci/kernels` leaves it.
#[derive(Debug, Clone)]
struct Fetched {
    folder: PathBuf,
    architecture: Architecture,
    release: String,
}

type Test = fn(&Fetched) -> Result<()>;

fn main() -> ExitCode {
    let mut trials = Vec::new();
    let mut add = |name: &str, test: &str, reason: Option<String>, kernel: Option<Fetched>, run: Test| {
        if let Some(reason) = &reason {
            eprintln!("{name}::{test} is skipped: {reason}");
        }
        let run = move || {
            let kernel = kernel.as_ref().ok_or_else(|| Failed::from("no kernel"))?;
            run(kernel).map_err(|error| Failed::from(format!("{error:#}")))
        };
        trials.push(Trial::test(format!("{name}::{test}"), run).with_ignored_flag(reason.is_some()));
    };
    for (name, architecture) in KERNELS {
        let found = fetched(name, *architecture);
        let absent = found.as_ref().err().map(|error| format!("{error:#}"));
        let kernel = found.ok();
        let lacks = |programs: &[&str]| absent.clone().or_else(|| package::why_not(programs));
        let programs = ["modprobe"];
        add(
            name,
            "modules_are_those_of_modprobe",
            lacks(&programs),
            kernel.clone(),
            modules_are_those_of_modprobe,
        );
        let programs = ["modprobe", "ar", "tar"];
        add(name, "debian_package", lacks(&programs), kernel.clone(), debian_package);
        let programs = ["rpmbuild"];
        // rpm copies what it packs several times: the smallest kernel does.
        if *name == "trixie-backports-cloud" {
            add(name, "rpm_package", lacks(&programs), kernel, rpm_package);
        }
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn fetched(name: &str, architecture: Architecture) -> Result<Fetched> {
    let cache = match (env::var_os("HV_CACHE"), env::var_os("XDG_CACHE_HOME"), env::var_os("HOME")) {
        (Some(cache), ..) => PathBuf::from(cache),
        (None, Some(cache), _) => Path::new(&cache).join("hv"),
        (None, None, home) => Path::new(&home.unwrap_or_default()).join(".cache/hv"),
    };
    let folder = cache.join("kernels").join(name);
    let release = fs::read_to_string(folder.join("release"));
    let release = release.with_context(|| format!("it needs: ci/kernels {name}"))?.trim_end().to_owned();
    Ok(Fetched { folder, architecture, release })
}

fn check(kernel: &Kernel, of: &Fetched) -> Result<()> {
    ensure!(kernel.architecture == of.architecture && kernel.release == of.release, "{kernel:?}");
    ensure!(fs::read(kernel.image())? == fs::read(of.folder.join("vmlinuz"))?, "the image is another one");
    let config = kernel.image().with_file_name("config");
    ensure!(fs::read(config)? == fs::read(of.folder.join("config"))?, "the configuration is another one");
    for feature in Feature::ALL {
        // Debian's cloud kernel for arm64 has no driver for a button on GPIO.
        let without = feature == Feature::PowerButton
            && of.architecture == Architecture::Aarch64
            && of.folder.ends_with("arm64-trixie-backports-cloud");
        let expected = without.then_some("CONFIG_KEYBOARD_GPIO is not set");
        ensure!(kernel.lacks(feature) == expected, "{feature:?}: {:?}", kernel.lacks(feature));
    }
    Ok(())
}

fn features(kernel: &Kernel) -> Vec<Feature> {
    Feature::ALL.into_iter().filter(|feature| kernel.lacks(*feature).is_none()).collect()
}

fn modules_are_those_of_modprobe(of: &Fetched) -> Result<()> {
    let place = tempfile::tempdir()?;
    let store = Store::open(place.path())?;
    let kernel = store.import(std::slice::from_ref(&of.folder), None, None)?;
    check(&kernel, of)?;
    compare_with_modprobe(&kernel, of)
}

fn compare_with_modprobe(kernel: &Kernel, of: &Fetched) -> Result<()> {
    let depends = modprobe::depends(of)?;
    for feature in features(kernel) {
        let mut expected = BTreeSet::new();
        for name in modprobe::names(feature, of.architecture) {
            expected.extend(modprobe::shown(of, name)?);
        }
        let modules = kernel.modules(&[feature])?;
        let found: BTreeSet<_> = modules.iter().map(|module| module.name.clone()).collect();
        ensure!(found == expected, "{feature:?}: {found:?}, and modprobe says {expected:?}");
        ensure!(found.len() == modules.len(), "{feature:?} has a module twice");
    }
    // All together, each after what it depends on.
    let mut loaded = BTreeSet::new();
    for module in kernel.modules(&features(kernel))? {
        for needed in depends.get(&module.name).into_iter().flatten() {
            ensure!(loaded.contains(needed), "{} comes before {needed}, on which it depends", module.name);
        }
        loaded.insert(module.name);
    }
    let soft = kernel.modules(&[Feature::Ext4])?;
    let at = |name: &str| soft.iter().position(|module| module.name == name);
    if let (Some(crc), Some(ext4)) = (at("crc32c_generic"), at("ext4")) {
        ensure!(crc < ext4, "ext4 comes before the checksum it needs");
    }
    Ok(())
}

/// The same kernel by a package: its modules are found without what depmod made.
fn debian_package(of: &Fetched) -> Result<()> {
    let place = tempfile::tempdir()?;
    let packages = package::debian(of, place.path())?;
    let store = Store::open(place.path().join("kernels"))?;
    let kernel = store.import(&packages, None, None)?;
    ensure!(kernel.name == of.release, "{kernel:?}");
    check(&kernel, of)?;
    compare_with_modprobe(&kernel, of)?;
    // The same as from a folder, to the byte: else this would be refused.
    store.import(std::slice::from_ref(&of.folder), None, None)?;
    ensure!(store.list()?.len() == 1, "{:?}", store.list()?);
    Ok(())
}

fn rpm_package(of: &Fetched) -> Result<()> {
    let place = tempfile::tempdir()?;
    let store = Store::open(place.path().join("kernels"))?;
    for payload in ["w1.gzdio", "w0.xzdio", "w3.zstdio"] {
        let package = package::rpm(of, place.path(), payload)?;
        let kernel = store.import(&[package], None, None)?;
        check(&kernel, of)?;
    }
    store.import(std::slice::from_ref(&of.folder), None, None)?;
    ensure!(store.list()?.len() == 1, "{:?}", store.list()?);
    Ok(())
}
