//! The hypervisors of this build: the only place that names one.

use anyhow::bail;
use hv_images::Architecture;

use crate::{
    args::{Accelerator, RunArguments},
    config::Files,
    doctor::Finding,
    exit_code::Code,
    guests::Registration,
    message, run,
};

cfg_if::cfg_if! {
    if #[cfg(target_os = "linux")] {
        mod kvm;
        use kvm as native;
    } else if #[cfg(feature = "emulator")] {
        // The simulation's `hv_*` take the place of the framework's in this binary.
        mod none;
        use none as native;
    } else {
        mod hvf;
        use hvf as native;
    }
}

cfg_if::cfg_if! {
    if #[cfg(feature = "emulator")] {
        /// Whether this build can emulate a machine.
        pub(crate) const HAS_EMULATOR: bool = true;
    } else {
        /// Whether this build can emulate a machine.
        pub(crate) const HAS_EMULATOR: bool = false;
    }
}

/// What runs a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Choice {
    /// The hypervisor of this host.
    Native,
    /// The emulated arm64 machine.
    Emulated,
}

/// What this host's hypervisor lacks, most fundamental first; all of it, or in a hurry only what a run must know.
pub(crate) fn examine(brief: bool) -> Vec<Finding> {
    native::examine(brief)
}

/// Whether `--accel auto` emulates a machine here.
pub(crate) fn emulates_by_itself() -> bool {
    HAS_EMULATOR && examine(true).iter().any(|finding| !finding.is_sound())
}

/// What `--accel` means on this host.
///
/// # Errors
/// There is no such hypervisor here, or it cannot run stock guests; one line with the cure.
pub(crate) fn choose(accel: Accelerator) -> anyhow::Result<Choice> {
    match accel {
        Accelerator::Emulated if HAS_EMULATOR => Ok(Choice::Emulated),
        Accelerator::Emulated => {
            bail!("this hv has no emulator: build it with `cargo build --release --features emulator`")
        }
        Accelerator::Auto => match (examine(true).iter().find_map(Finding::obstacle), HAS_EMULATOR) {
            (None, _) => Ok(Choice::Native),
            (Some(obstacle), true) => {
                let cause = obstacle.split(';').next().unwrap_or_default();
                message::line(&format!("an arm64 machine is emulated, since {cause}"));
                Ok(Choice::Emulated)
            }
            (Some(obstacle), false) => bail!("{obstacle}"),
        },
        asked if asked == native::ACCELERATOR => Ok(Choice::Native),
        Accelerator::Kvm => bail!("KVM is part of Linux, and this is another system: use --accel auto"),
        Accelerator::Hvf => {
            bail!("Hypervisor.framework is part of macOS, and this build has it not: use --accel auto")
        }
    }
}

/// The architecture of the guests that `--accel auto` runs here.
pub(crate) fn guest_architecture() -> Architecture {
    if emulates_by_itself() { Choice::Emulated.architecture() } else { Choice::Native.architecture() }
}

impl Choice {
    /// The architecture of its guests.
    pub(crate) fn architecture(self) -> Architecture {
        match self {
            Self::Native if cfg!(target_arch = "x86_64") => Architecture::X86_64,
            Self::Native | Self::Emulated => Architecture::Aarch64,
        }
    }

    /// The word for it on the command line.
    pub(crate) fn name(self) -> &'static str {
        match (self, native::ACCELERATOR) {
            (Self::Native, Accelerator::Kvm) => "kvm",
            (Self::Native, Accelerator::Hvf) => "hvf",
            _ => "emulated",
        }
    }

    /// Runs a guest until it ends. `guest` is how other processes know it.
    pub(crate) fn run(
        self,
        arguments: &RunArguments,
        files: Files,
        mut guest: Option<&mut Registration>,
    ) -> anyhow::Result<Code> {
        if let Some(guest) = &mut guest {
            guest.describe(|record| {
                record.accelerator = self.name().to_owned();
                arguments.describe(record);
                if let Some(network) = &files.network {
                    network.describe(record);
                }
            })?;
        }
        cfg_if::cfg_if! {
            if #[cfg(feature = "emulator")] {
                match self {
                    Self::Native => run::on::<native::Native>(arguments, files, guest, native::RUNS_ON),
                    Self::Emulated => {
                        // Cores that wait outside would have to look for each other's interrupts.
                        backend_hvf::simulation::wfi_waits(true);
                        run::on::<backend_hvf::Hvf>(arguments, files, guest, hv_sandbox::Hypervisor::Emulator)
                    }
                }
            } else {
                run::on::<native::Native>(arguments, files, guest, native::RUNS_ON)
            }
        }
    }
}
