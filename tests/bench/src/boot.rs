//! Exec to the first line of /init: the same ELF kernel, initrd, one vCPU and 256 MiB, by `hv` and by QEMU's microvm.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use hv_boot_tests::{Host, Kernel};

use crate::{Figures, time_to_line};

/// The guest of the benchmark.
pub(crate) struct BenchGuest {
    pub(crate) kernel: PathBuf,
    pub(crate) initrd: PathBuf,
    _directory: tempfile::TempDir,
}

pub(crate) const LINE: &str = "first line of init";

impl BenchGuest {
    pub(crate) fn new() -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let initrd = directory.path().join("initrd");
        let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let status = Command::new(repository.join("ci/initrd"))
            .arg(repository.join("tests/bench/guest/init"))
            .arg(&initrd)
            .status()?;
        ensure!(status.success(), "ci/initrd ended with {status}");
        Ok(Self { kernel: Kernel::named("trixie-backports-cloud")?.elf(), initrd, _directory: directory })
    }

    pub(crate) fn hv(&self, append: &str) -> Result<Command> {
        let mut command = Command::new(Host::Native.hv()?);
        command.arg("run").arg("--kernel").arg(&self.kernel).arg("--initrd").arg(&self.initrd);
        command.args(["--memory", "256M", "--cpus", "1", "--append", append]);
        Ok(command)
    }

    pub(crate) fn qemu(&self, append: &str) -> Command {
        let mut command = Command::new("qemu-system-x86_64");
        command.args(["-M", "microvm,acpi=on", "-accel", "kvm", "-cpu", "host", "-m", "256", "-smp", "1"]);
        command.args([
            "-nodefaults",
            "-no-user-config",
            "-display",
            "none",
            "-no-reboot",
            "-serial",
            "stdio",
        ]);
        command.arg("-kernel").arg(&self.kernel).arg("-initrd").arg(&self.initrd);
        command.args(["-append", &format!("console=ttyS0 {append}")]);
        command
    }
}

pub(crate) fn measure(runs: usize) -> Result<()> {
    let guest = BenchGuest::new()?;
    println!("| exec to the first line of /init | hv, s (range) | QEMU microvm, s (range) | ratio |");
    println!("| --- | --- | --- | --- |");
    for (name, append) in [("quiet", "quiet"), ("full kernel log", "")] {
        let (mut ours, mut theirs) = (Figures::default(), Figures::default());
        // A full log over QEMU's serial port takes half a minute: fewer of those.
        let runs = if append.is_empty() { runs.div_ceil(3) } else { runs };
        for _ in 0..runs {
            for (command, figures) in [(guest.hv(append)?, &mut ours), (guest.qemu(append), &mut theirs)] {
                let (mut child, time) = time_to_line(command, LINE)?;
                figures.push(time.as_secs_f64());
                child.kill()?;
                child.wait()?;
            }
        }
        let ((low, high), (their_low, their_high)) = (ours.range(), theirs.range());
        println!(
            "| {name} | {:.2} ({low:.2}–{high:.2}) | {:.2} ({their_low:.2}–{their_high:.2}) | {:.2} |",
            ours.median(),
            theirs.median(),
            ours.median() / theirs.median()
        );
    }
    println!();
    for (name, append) in [("quiet", "quiet"), ("full kernel log", "")] {
        println!("exits to the VMM of a boot and power-off, {name}: {}", exits(&guest, append)?);
    }
    Ok(())
}

fn exits(guest: &BenchGuest, append: &str) -> Result<String> {
    let output = guest.hv(append)?.arg("-vv").stdin(Stdio::null()).output()?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let line = text.lines().find_map(|line| line.split("exits: ").nth(1));
    line.map(str::to_owned).with_context(|| format!("hv -v did not count exits: {text}"))
}
