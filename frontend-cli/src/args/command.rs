//! The words of the commands on guests.

use std::{path::PathBuf, time::Duration};

use clap::Args;

use super::value;

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
    /// How long a guest may take to power off
    #[arg(short, long, value_name = "TIME", default_value = "10s", value_parser = value::time)]
    pub(crate) time: Duration,
}

/// What `hv kill`, `hv pause` and `hv resume` are told.
#[derive(Debug, Args)]
pub(crate) struct KillArguments {
    /// Guests
    #[arg(value_name = "NAME", required = true)]
    pub(crate) names: Vec<String>,
}

/// What `hv exec` is told.
#[derive(Debug, Args)]
pub(crate) struct ExecArguments {
    /// Pass standard input on
    #[arg(short, long)]
    pub(crate) interactive: bool,
    /// Give the command a terminal
    #[arg(short, long)]
    pub(crate) tty: bool,
    /// Set an environment variable of the command
    #[arg(short, long, value_name = "NAME=VALUE", value_parser = value::variable)]
    pub(crate) env: Vec<(String, String)>,
    /// Run the command in this folder of the guest
    #[arg(short, long, value_name = "FOLDER")]
    pub(crate) workdir: Option<String>,
    /// Run the command as this user of the guest, with :GROUP if not the user's own
    #[arg(short, long, value_name = "USER")]
    pub(crate) user: Option<String>,
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
