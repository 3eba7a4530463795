//! Guests that attack their machine, in the real `hv` with every device: it ends as described, whatever they do.
//!
//! Each test runs as many seeds as `HV_HOSTILE_SEEDS` says, from `HV_HOSTILE_FIRST` on, of `HV_HOSTILE_STEPS` steps each.

use std::{env, path::Path, process::ExitCode};

use anyhow::{Context, Result, ensure};
use hv_boot_tests::{
    Host,
    attack::{Attack, Kind},
};
use libtest_mimic::{Arguments, Failed, Trial};

const SEEDS: u64 = 2;
const STEPS: u64 = 120;

/// A test's name, what the guest does, the transport, and whether several cores do it.
const ATTACKS: &[(&str, Kind, &str, bool)] = &[
    ("one_core_breaks_one_thing_at_a_time_on_pci", Kind::Structured, "pci", false),
    ("one_core_breaks_one_thing_at_a_time_on_mmio", Kind::Structured, "mmio", false),
    ("cores_break_one_thing_at_a_time_on_pci", Kind::Structured, "pci", true),
    ("cores_break_one_thing_at_a_time_on_mmio", Kind::Structured, "mmio", true),
    ("noise_everywhere_on_pci", Kind::Wild, "pci", false),
    ("noise_everywhere_on_mmio", Kind::Wild, "mmio", false),
    ("noise_of_cores_everywhere_on_pci", Kind::Wild, "pci", true),
    ("a_hostile_kernel_of_an_image_on_pci", Kind::Image, "pci", false),
    ("hostile_cores_of_an_image_on_pci", Kind::Image, "pci", true),
    ("a_hostile_kernel_of_an_image_on_mmio", Kind::Image, "mmio", false),
    ("a_kernel_that_plays_the_agent", Kind::Agent, "pci", false),
];

/// Devices by their types: network, block, console, entropy, balloon, socket.
const TYPES: [usize; 5] = [1, 2, 3, 4, 5];
const SOCKET: usize = 19;

fn number(variable: &str, usual: u64) -> Result<u64> {
    match env::var(variable) {
        Ok(text) => text.parse().with_context(|| format!("{variable} is not a number")),
        Err(_) => Ok(usual),
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let mut trials = Vec::new();
    // A host whose KVM runs small guests only starts no second core.
    let is_full = Host::Native.why_not().is_none();
    for (place, host, many) in [("native", Host::Native, is_full), ("emulated", Host::Emulated, true)] {
        let reason = why_not(host);
        if let Some(reason) = &reason {
            eprintln!("every hostile guest of {place} is skipped: {reason}");
        }
        for &(name, kind, transport, is_many) in ATTACKS {
            let cpus = if is_many { 3 } else { 1 };
            let run = move || {
                attack(host, kind, transport, cpus).map_err(|error| Failed::from(format!("{error:#}")))
            };
            let is_ignored = reason.is_some() || is_many && !many;
            trials.push(Trial::test(format!("{place}::{name}"), run).with_ignored_flag(is_ignored));
        }
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// Why no guest of ours runs there; small ones need no more than a `/dev/kvm`.
fn why_not(host: Host) -> Option<String> {
    if let Err(error) = host.hv() {
        return Some(error.to_string());
    }
    if host != Host::Native {
        return None;
    }
    if cfg!(target_arch = "aarch64") {
        // What it writes past the caches a host need not see.
        return Some("the arm64 guest has no MMU on, which is for the emulator alone".to_owned());
    }
    (!Path::new("/dev/kvm").exists()).then(|| "there is no /dev/kvm".to_owned())
}

fn attack(host: Host, kind: Kind, transport: &'static str, cpus: u32) -> Result<()> {
    let (first, seeds) = (number("HV_HOSTILE_FIRST", 1)?, number("HV_HOSTILE_SEEDS", SEEDS)?);
    let steps = number("HV_HOSTILE_STEPS", STEPS)?;
    let mut used = [0; 20];
    let mut broken = 0;
    for seed in first..first + seeds {
        let outcome = Attack { host, kind, transport, cpus, seed, steps }.run()?;
        println!("{host:?} {kind:?} {transport} {cpus} cores, seed {seed}: {outcome:?}");
        let of = |name: &str| outcome.counted.get(name).copied().unwrap_or(0);
        if kind == Kind::Structured || kind == Kind::Image {
            ensure!(of("steps") >= steps, "seed {seed}: the guest did not say that it came to its end");
        }
        broken += of("needs-reset");
        for (kind, used) in (0_u64..).zip(&mut used) {
            *used += of(&format!("used-{kind}"));
        }
    }
    // What never gets beyond the registers shows nothing.
    let expected: &[usize] = match kind {
        Kind::Structured => &TYPES,
        Kind::Image => &[TYPES[0], TYPES[1], TYPES[2], TYPES[3], TYPES[4], SOCKET],
        Kind::Wild | Kind::Agent => return Ok(()),
    };
    let reached = expected.iter().filter(|kind| used[**kind] > 0).count();
    // A busy host may answer late.
    ensure!(reached + 2 > expected.len(), "chains came back of {reached} types of devices: {used:?}");
    ensure!(broken > 0, "no device gave up on anything");
    Ok(())
}
