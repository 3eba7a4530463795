//! The words of the commands on guests.

use std::{path::PathBuf, time::Duration};

use clap::Args;

use super::{ProcessArguments, value};
use crate::linux_signal;

/// What `hv ps` is told.
#[derive(Debug, Args)]
pub(crate) struct PsArguments {
    /// List guests that have ended and are kept, too
    #[arg(short, long)]
    pub(crate) all: bool,
    /// Write JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// What `hv stop` is told.
#[derive(Debug, Args)]
pub(crate) struct StopArguments {
    /// Guests
    #[arg(value_name = "NAME", required = true)]
    pub(crate) names: Vec<String>,
    /// How long a guest may take to end
    #[arg(short, long, value_name = "TIME", default_value = "10s", value_parser = value::time)]
    pub(crate) time: Duration,
}

/// What `hv kill` is told.
#[derive(Debug, Args)]
pub(crate) struct KillArguments {
    /// Send this signal, such as HUP or 1, to the command of a guest from an image, and leave the rest to it
    #[arg(short, long, value_name = "SIGNAL", value_parser = linux_signal::parse)]
    pub(crate) signal: Option<u8>,
    /// Guests
    #[arg(value_name = "NAME", required = true)]
    pub(crate) names: Vec<String>,
}

/// What `hv pause` and `hv resume` are told.
#[derive(Debug, Args)]
pub(crate) struct GuestsArguments {
    /// Guests
    #[arg(value_name = "NAME", required = true)]
    pub(crate) names: Vec<String>,
}

/// What `hv exec` is told.
#[derive(Debug, Args)]
pub(crate) struct ExecArguments {
    #[command(flatten)]
    pub(crate) process: ProcessArguments,
    /// Return when the command runs; it goes on in the guest, and its output is dropped
    #[arg(short, long, conflicts_with = "interactive")]
    pub(crate) detach: bool,
    /// Guest
    pub(crate) name: String,
    /// Command and its arguments
    #[arg(value_name = "COMMAND", required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) command: Vec<String>,
}

/// What `hv logs` is told.
#[derive(Debug, Args)]
pub(crate) struct LogsArguments {
    /// Go on until the guest ends
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Begin with the last N lines
    #[arg(short = 'n', long, value_name = "N")]
    pub(crate) tail: Option<usize>,
    /// Guest
    pub(crate) name: String,
}

/// What `hv console` is told.
#[derive(Debug, Args)]
#[command(after_help = "Ctrl-A x leaves; the guest goes on.")]
pub(crate) struct ConsoleArguments {
    /// Guest
    pub(crate) name: String,
}

/// What `hv inspect` is told.
#[derive(Debug, Args)]
pub(crate) struct InspectArguments {
    /// Guest
    pub(crate) name: String,
}

/// What `hv wait` is told.
#[derive(Debug, Args)]
pub(crate) struct WaitArguments {
    /// Guest
    pub(crate) name: String,
}

/// What `hv rm` is told.
#[derive(Debug, Args)]
pub(crate) struct RemoveArguments {
    /// End guests that run first
    #[arg(short, long)]
    pub(crate) force: bool,
    /// Guests
    #[arg(value_name = "NAME", required = true)]
    pub(crate) names: Vec<String>,
}

/// What `hv completions` is told.
#[derive(Debug, Args)]
pub(crate) struct CompletionsArguments {
    /// Shell
    pub(crate) shell: clap_complete::Shell,
    /// Write into this file instead of standard output
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}
