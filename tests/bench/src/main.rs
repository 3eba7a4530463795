//! Measures `hv`: each figure as the median of alternating runs, with its rival's beside it.

mod block;
mod boot;
mod emulated;
#[cfg(target_arch = "x86_64")]
mod first_instruction;
mod images;
mod memory;
mod network;
mod overhead;
mod unpack;

use std::{
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use clap::{Parser, Subcommand};
use hv_boot_tests::Host;

/// What to measure.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    what: What,
    /// Runs of each contestant.
    #[arg(long, default_value_t = 7, global = true)]
    runs: usize,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Exec to the first line of /init, against QEMU's microvm; exits by kind. Needs full KVM.
    Boot,
    /// Resident memory beyond the guest's own. Needs full KVM.
    Memory,
    /// Exec to the first guest instruction. Any KVM.
    #[cfg(target_arch = "x86_64")]
    FirstInstruction,
    /// What hv adds to a guest's own boot, in time and memory. Needs full KVM; made for arm64.
    Overhead {
        /// The kernel to boot.
        #[arg(long)]
        kernel: PathBuf,
        /// An initrd of tests/bench/guest/init.
        #[arg(long)]
        initrd: PathBuf,
    },
    /// Exec to the first line of /init of emulated arm64 guests, against QEMU's emulation. Any host.
    Emulated,
    /// Guests from an image: a command's whole run, a command in a running guest, memory that comes back. Needs `ci/images`, and
    /// full KVM unless it is emulated.
    Images {
        /// An arm64 guest on the emulator.
        #[arg(long)]
        emulated: bool,
    },
    /// The user network against QEMU's libslirp and passt: speed, round trips, CPU time, memory. Needs `hv-bench-client` for the guest, and
    /// full KVM unless it is emulated.
    Network {
        /// An arm64 guest on emulators.
        #[arg(long)]
        emulated: bool,
    },
    /// What the sandbox costs in the start of a guest, its disk and its network. As `network`.
    Sandbox {
        /// An arm64 guest on the emulator.
        #[arg(long)]
        emulated: bool,
    },
    /// Unpacking an image into the cache, against tar. Any host, as root.
    Unpack {
        /// Whose image.
        #[arg(long, default_value = "x86_64")]
        arch: String,
    },
    /// Block device through the in-process driver, against plain positioned vectored I/O. No KVM.
    Block,
}

fn main() -> Result<()> {
    let Arguments { what, runs } = Arguments::parse();
    ensure!(runs > 0, "--runs 0 measures nothing: give at least 1");
    match what {
        What::Boot => boot::measure(runs),
        What::Memory => memory::measure(runs),
        #[cfg(target_arch = "x86_64")]
        What::FirstInstruction => first_instruction::measure(runs),
        What::Overhead { kernel, initrd } => overhead::measure(runs, &kernel, &initrd),
        What::Emulated => emulated::measure(runs),
        What::Images { emulated } => images::measure(runs, host(emulated)),
        What::Network { emulated } => network::measure(runs, host(emulated)),
        What::Sandbox { emulated } => network::sandbox::measure(runs, host(emulated)),
        What::Unpack { arch } => unpack::measure(runs, &arch),
        What::Block => block::measure(runs),
    }
}

fn host(emulated: bool) -> Host {
    if emulated { Host::Emulated } else { Host::Native }
}

/// Figures of one contestant.
#[derive(Debug, Default, Clone)]
struct Figures(Vec<f64>);

impl Figures {
    fn push(&mut self, figure: f64) {
        self.0.push(figure);
    }

    /// The middle figure.
    fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
    }

    /// The lowest and the highest figure.
    fn range(&self) -> (f64, f64) {
        self.0.iter().fold((f64::INFINITY, 0.0), |(low, high), figure| (low.min(*figure), high.max(*figure)))
    }
}

/// Starts `command`, and returns it with the time until a line of its output held `text`.
fn time_to_line(mut command: Command, text: &str) -> Result<(Child, Duration)> {
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let start = Instant::now();
    let mut child = command.spawn().with_context(|| format!("cannot run {command:?}"))?;
    let stdout = child.stdout.take().context("no standard output")?;
    for line in BufReader::new(stdout).split(b'\n') {
        if String::from_utf8_lossy(&line?).contains(text) {
            return Ok((child, start.elapsed()));
        }
    }
    let status = child.wait()?;
    anyhow::bail!("{command:?} ended with {status} before it said {text:?}")
}
