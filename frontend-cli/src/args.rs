//! The words of the command line, as clap types.

mod command;
mod guest;
mod image;
mod kernel;
mod network;
mod value;

pub(crate) use command::{
    CompletionsArguments, ConsoleArguments, ExecArguments, GuestsArguments, InspectArguments, KillArguments,
    LogsArguments, PsArguments, RemoveArguments, StopArguments, WaitArguments,
};
pub(crate) use guest::GuestArguments;
pub(crate) use image::{GuestArchitecture, ImageCommand, PullArguments};
pub(crate) use kernel::KernelCommand;
pub(crate) use network::{Cable, Mac, Net, NetworkArguments, Protocol, Publish};
pub(crate) use value::{Console, Disk};

use std::{path::PathBuf, time::Duration};

use clap::{ArgAction, Args, CommandFactory, Parser, Subcommand, ValueEnum, error::ErrorKind};
use hv_core::machine::{CpuQuota, MOST_CPUS};

use crate::{
    detach_keys::{self, DetachKeys},
    linux_signal,
};

/// Runs Linux guests on KVM, on Hypervisor.framework, or in emulation.
#[derive(Debug, Parser)]
#[command(name = "hv", version, arg_required_else_help = false, subcommand_required = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
    /// Say more: causes of errors, then what the machine does (-vv, -vvv)
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub(crate) verbose: u8,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a guest until it ends
    Run(Box<RunArguments>),
    /// List guests
    Ps(PsArguments),
    /// Ask guests to end, and end those that do not in time
    Stop(StopArguments),
    /// End guests at once, or send their commands a signal
    Kill(KillArguments),
    /// Run a command in a guest
    Exec(Box<ExecArguments>),
    /// Show what a guest showed on its console
    Logs(LogsArguments),
    /// Be at a guest's console
    Console(ConsoleArguments),
    /// Show what a guest is made of, as JSON
    Inspect(InspectArguments),
    /// Hold guests where they are
    Pause(GuestsArguments),
    /// Let paused guests go on
    Resume(GuestsArguments),
    /// Wait until a guest has ended; its exit code is this command's
    Wait(WaitArguments),
    /// Forget guests that have ended, and what they kept
    Rm(RemoveArguments),
    /// Images: pull, import, list, remove
    #[command(subcommand)]
    Image(ImageCommand),
    /// Kernels for guests of images: import, list, remove
    #[command(subcommand)]
    Kernel(KernelCommand),
    /// Write completions for a shell
    Completions(CompletionsArguments),
    /// Say whether this host can run guests, and what to do if it cannot
    Doctor,
}

/// What `hv run` is told.
#[derive(Debug, Args)]
#[command(after_help = "\
In the console of a guest with --kernel: Ctrl-A x leaves, Ctrl-A Ctrl-A sends Ctrl-A, Ctrl-A ? shows the keys.

Exit codes: the command's own; without a command, 0 the guest powered off. 2 usage error, 122 hv did what its sandbox \
forbids, 123 the guest crashed, \
124 --timeout passed, 125 hv failed, 126 the command cannot be run, 127 it was not found.")]
pub(crate) struct RunArguments {
    /// Image to run: a name such as debian:bookworm, or the path of a root's folder, a tar archive of one, an OCI layout,
    /// or an OCI or docker archive
    #[arg(value_name = "IMAGE")]
    pub(crate) image: Option<String>,
    /// Command to run in the guest, and its arguments; the image's own if there is none
    #[arg(value_name = "COMMAND", last = true, allow_hyphen_values = true)]
    pub(crate) command: Vec<String>,
    #[command(flatten)]
    pub(crate) process: ProcessArguments,
    /// Kernel to boot: vmlinuz as distributions ship it (x86_64 bzImage; arm64 Image, gzip, zstd, EFI zboot) or x86_64 vmlinux; with IMAGE
    /// the name of one that was imported
    #[arg(long, value_name = "FILE")]
    pub(crate) kernel: Option<PathBuf>,
    /// Initial RAM disk
    #[arg(long, value_name = "FILE", conflicts_with = "image")]
    pub(crate) initrd: Option<PathBuf>,
    /// Words to add to the kernel's command line
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub(crate) append: Option<String>,
    /// Number of vCPUs
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=i64::from(MOST_CPUS)))]
    pub(crate) cpus: u32,
    /// The most processor time that all vCPUs use together: 1.5 or 150% is that of one and a half of the host's processors
    #[arg(long, value_name = "SHARE", value_parser = value::cpu_quota)]
    pub(crate) cpu_quota: Option<CpuQuota>,
    /// RAM of the guest, such as 512M or 2G
    #[arg(long, value_name = "SIZE", default_value = "512M", value_parser = value::memory)]
    pub(crate) memory: u64,
    /// Give memory that the guest does not use back to the host, as far as its kernel has a driver for virtio balloons
    #[arg(long)]
    pub(crate) balloon: bool,
    /// Disk: a raw image or a block device; repeat for more. iops and bw are the most operations and bytes in a second
    #[arg(long, value_name = "PATH[,readonly][,format=raw][,serial=TEXT][,queues=N][,iops=N][,bw=SIZE]", value_parser = value::disk)]
    pub(crate) disk: Vec<Disk>,
    #[command(flatten)]
    pub(crate) network: NetworkArguments,
    /// The guest's console: stdio, pty, none or file=PATH; none for images, whose command has standard input and output
    #[arg(long, value_name = "WHERE", value_parser = value::console)]
    pub(crate) console: Option<Console>,
    /// How virtio devices are found and driven
    #[arg(long, value_name = "BUS", default_value = "pci")]
    pub(crate) transport: Transport,
    /// Stop the guest after this time, such as 90s or 2m
    #[arg(long, value_name = "TIME", value_parser = value::time)]
    pub(crate) timeout: Option<Duration>,
    /// What a guest's reboot does
    #[arg(long, value_name = "ACTION", default_value = "restart")]
    pub(crate) on_reboot: OnReboot,
    /// Signal that asks the image's command to end at `hv stop`, such as TERM; the image's own if there is none
    #[arg(long, value_name = "SIGNAL", value_parser = linux_signal::parse)]
    pub(crate) stop_signal: Option<u8>,
    /// Hypervisor: auto takes what can run stock guests here; kvm and hvf try; emulated runs arm64 guests anywhere
    #[arg(long, value_name = "NAME", default_value = "auto")]
    pub(crate) accel: Accelerator,
    /// What hv's own process may still do once its guest runs: only what guests need (on), all, with the host's log of what more
    /// that is (log), or all (off)
    #[arg(long, value_name = "WHEN", default_value = "on")]
    pub(crate) sandbox: Sandbox,
    /// Machine type
    #[arg(long, value_name = "TYPE", default_value = "hv-1")]
    pub(crate) machine: MachineType,
    #[command(flatten)]
    pub(crate) guest: GuestArguments,
}

/// How a command runs in a guest.
#[derive(Debug, Args)]
pub(crate) struct ProcessArguments {
    /// Pass standard input on to the command
    #[arg(short, long)]
    pub(crate) interactive: bool,
    /// Give the command a terminal
    #[arg(short, long)]
    pub(crate) tty: bool,
    /// Keys that leave a command with a terminal to itself; "" for none
    #[arg(long, value_name = "KEYS", default_value = detach_keys::USUAL)]
    pub(crate) detach_keys: DetachKeys,
    /// Set an environment variable of the command
    #[arg(short, long, value_name = "NAME=VALUE", value_parser = value::variable)]
    pub(crate) env: Vec<(String, String)>,
    /// Run the command in this folder of the guest
    #[arg(short, long, value_name = "FOLDER")]
    pub(crate) workdir: Option<String>,
    /// Run the command as this user of the guest, with :GROUP if not the user's own
    #[arg(short, long, value_name = "USER")]
    pub(crate) user: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Transport {
    Pci,
    Mmio,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnReboot {
    /// The guest starts again in the same machine
    Restart,
    /// hv ends as if the guest had powered off
    Exit,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Accelerator {
    /// The host's own, or emulation where that cannot run stock guests
    Auto,
    /// KVM of Linux
    Kvm,
    /// Hypervisor.framework of macOS
    Hvf,
    /// An emulated arm64 machine, in builds with the feature `emulator`
    Emulated,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Sandbox {
    On,
    Log,
    Off,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum MachineType {
    #[value(name = "hv-1")]
    Hv1,
}

/// Checks what a manifest may have added to: that there is something to run, and that its words go together.
///
/// # Errors
/// Neither an image nor a kernel is named, a command without an image, or ports without the network that leads to them.
pub(crate) fn check(arguments: Arguments) -> Result<Arguments, clap::Error> {
    let Command::Run(run) = &arguments.command else { return Ok(arguments) };
    let what = match (&run.image, &run.kernel) {
        (None, None) => "nothing is named to run: write an IMAGE, --kernel FILE, or an hv.toml",
        (None, Some(_)) if !run.command.is_empty() => {
            "a COMMAND is for an IMAGE: with --kernel alone use --append"
        }
        _ => match run.network.contradiction() {
            Some(what) => return Err(Arguments::command().error(ErrorKind::ArgumentConflict, what)),
            None => return Ok(arguments),
        },
    };
    Err(Arguments::command().error(ErrorKind::MissingRequiredArgument, what))
}

/// A command line that was not understood, as one line: what is wrong with which word, and where to look.
pub(crate) fn usage_line(error: &clap::Error) -> String {
    let first = std::env::args().nth(1).unwrap_or_default();
    let command =
        Arguments::command().find_subcommand(&first).map(|command| format!(" {}", command.get_name()));
    format!("{}; see `hv{} --help`", told(error), command.unwrap_or_default())
}

/// What is wrong with which word, in one line.
pub(crate) fn told(error: &clap::Error) -> String {
    let rendered = error.render().to_string();
    let told = rendered.split("\nUsage:").next().unwrap_or_default();
    let told = told.split("\nFor more information").next().unwrap_or_default();
    let words = told.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ");
    words.strip_prefix("error: ").unwrap_or(&words).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Arguments, clap::Error> {
        Arguments::try_parse_from(["hv"].iter().chain(words)).and_then(check)
    }

    fn run(words: &[&str]) -> RunArguments {
        match parse(&[&["run", "--kernel", "k"], words].concat()).unwrap().command {
            Command::Run(arguments) => *arguments,
            _ => unreachable!("the first word is run"),
        }
    }

    #[test]
    fn the_definition_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn defaults() {
        let arguments = run(&[]);
        assert_eq!((arguments.cpus, arguments.memory), (1, 512 << 20));
        assert_eq!(arguments.console(), &Console::Stdio);
        assert_eq!(arguments.on_reboot, OnReboot::Restart);
        assert_eq!(arguments.accel, Accelerator::Auto);
        assert_eq!(arguments.sandbox, Sandbox::On);
        assert_eq!(arguments.timeout, None);
        assert_eq!(arguments.network.net(), Net::default());
        assert!(!arguments.network.is_asked_for());
    }

    #[test]
    fn disks_keep_their_order() {
        let arguments = run(&["--disk", "b.img", "--disk", "a.img,readonly"]);
        let paths: Vec<_> = arguments.disk.iter().map(|disk| disk.path.to_str().unwrap()).collect();
        assert_eq!(paths, ["b.img", "a.img"]);
    }

    #[test]
    fn an_appended_text_may_begin_with_a_hyphen() {
        assert_eq!(run(&["--append", "-- single"]).append.unwrap(), "-- single");
    }

    #[test]
    fn every_error_is_one_line() {
        for words in [
            &["run"][..],
            &[],
            &["rnu"],
            &["run", "--kernel"],
            &["run", "--kernel", "k", "--cpus", "0"],
            &["run", "--kernel", "k", "--cpus", "65"],
            &["run", "--kernel", "k", "--memroy", "1G"],
            &["run", "--kernel", "k", "--transport", "isa"],
            &["run", "--kernel", "k", "--disk", ",readonly"],
            &["run", "--kernel", "k", "image", "--initrd", "i"],
            &["run", "--kernel", "k", "--", "ls"],
            &["run", "image", "ls"],
            &["run", "image", "--stop-signal", "RTMIN+3"],
            &["run", "image", "--detach-keys", "alt-x"],
            &["kill", "--signal", "NONE", "web"],
            &["exec", "-d", "-i", "web", "cat"],
            &["run", "image", "--net", "bridge"],
            &["run", "image", "--net", "none", "-p", "8080:80"],
        ] {
            let line = usage_line(&parse(words).unwrap_err());
            assert!(!line.contains('\n') && line.len() > 30, "{line}");
            assert!(!line.contains("Usage:"), "{line}");
        }
    }
}
