//! Exec to the first line of /init of an arm64 guest on the simulated Hypervisor.framework, beside QEMU's own emulation.

use std::{path::Path, process::Command};

use anyhow::{Result, ensure};
use hv_boot_tests::{Host, Kernel};

use crate::{Figures, boot::LINE, time_to_line};

pub(crate) fn measure(runs: usize) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let initrd = directory.path().join("initrd");
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let status = Command::new(repository.join("ci/initrd"))
        .args(["--arch", "aarch64"])
        .arg(repository.join("tests/bench/guest/init"))
        .arg(&initrd)
        .status()?;
    ensure!(status.success(), "ci/initrd ended with {status}");
    println!("| exec to the first line of /init, emulated | hv, s (range) | QEMU TCG, s (range) | ratio |");
    println!("| --- | --- | --- | --- |");
    for name in ["arm64-bookworm", "arm64-trixie-backports-cloud"] {
        let kernel = Kernel::named(name)?.packaged();
        let (mut ours, mut theirs) = (Figures::default(), Figures::default());
        for _ in 0..runs {
            let contestants = [(hv(&kernel, &initrd)?, &mut ours), (qemu(&kernel, &initrd), &mut theirs)];
            for (command, figures) in contestants {
                let (mut child, time) = time_to_line(command, LINE)?;
                figures.push(time.as_secs_f64());
                child.kill()?;
                child.wait()?;
            }
        }
        let ((low, high), (their_low, their_high)) = (ours.range(), theirs.range());
        println!(
            "| {name}, quiet, 1 vCPU | {:.2} ({low:.2}–{high:.2}) | {:.2} ({their_low:.2}–{their_high:.2}) | {:.2} |",
            ours.median(),
            theirs.median(),
            ours.median() / theirs.median()
        );
    }
    Ok(())
}

fn hv(kernel: &Path, initrd: &Path) -> Result<Command> {
    let mut command = Command::new(Host::Emulated.hv()?);
    command.args(["run", "--accel", "emulated", "--memory", "512M", "--append", "quiet", "--kernel"]);
    command.arg(kernel).arg("--initrd").arg(initrd);
    Ok(command)
}

/// Without pointer authentication, which costs an emulator much and which `hv` does not offer its emulated guests.
fn qemu(kernel: &Path, initrd: &Path) -> Command {
    let mut command = Command::new("qemu-system-aarch64");
    command.args([
        "-M",
        "virt,gic-version=3",
        "-accel",
        "tcg",
        "-cpu",
        "max,pauth=off",
        "-m",
        "512",
        "-smp",
        "1",
    ]);
    command.args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-serial", "stdio"]);
    command.arg("-kernel").arg(kernel).arg("-initrd").arg(initrd);
    command.args(["-append", "console=ttyAMA0 quiet"]);
    command
}
