//! The words of `hv run` about the guest's name, and about where it runs.

use std::path::PathBuf;

use clap::Args;

use super::{Console, RunArguments};
use crate::guests::{self, Record, Wish};

/// How a guest is known and kept.
#[derive(Debug, Args)]
pub(crate) struct GuestArguments {
    /// Name the guest; it then stays listed when it has ended, with what it wrote, until `hv rm`
    #[arg(long, value_name = "NAME", value_parser = guests::check_name)]
    pub(crate) name: Option<String>,
    /// Forget a named guest when it has ended
    #[arg(long)]
    pub(crate) rm: bool,
    /// Run the guest in the background; prints its name when it runs
    #[arg(short, long)]
    pub(crate) detach: bool,
    /// Take words of this command line from this file; ./hv.toml if nothing else says what to run
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// This process is the one in the background.
    #[arg(long, hide = true)]
    pub(crate) in_background: bool,
}

impl GuestArguments {
    /// Other processes must be able to find the guest.
    pub(crate) fn needs_name(&self) -> bool {
        self.name.is_some() || self.in_background
    }
}

impl RunArguments {
    /// What the guest asks of the list of guests.
    pub(crate) fn wish(&self) -> Wish<'_> {
        let keep = self.guest.name.is_some() && !self.guest.rm;
        Wish { name: self.guest.name.as_deref(), keep, log: keep || self.guest.in_background, image: None }
    }

    /// Where the guest's console is; standard input and output are nobody's in the background.
    pub(crate) fn console(&self) -> &Console {
        match &self.console {
            Console::Stdio if self.guest.in_background => &Console::None,
            console => console,
        }
    }

    /// Writes down what the guest is made of.
    pub(crate) fn describe(&self, record: &mut Record) {
        record.kernel = Some(self.kernel.display().to_string());
        record.cpus = self.cpus;
        record.memory = self.memory;
    }
}
