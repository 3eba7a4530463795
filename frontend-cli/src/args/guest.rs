//! The words of `hv run` about the guest's name, and about where it runs.

use std::path::PathBuf;

use clap::Args;
use rustix::{stdio::stdin, termios::isatty};

use super::{Console, RunArguments};
use crate::{
    detach_keys::DetachKeys,
    guests::{self, Record, Wish},
    sandbox,
};

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
    /// Another process waits in front of this one, at this socket.
    #[arg(long, hide = true, value_name = "SOCKET")]
    pub(crate) attended: Option<PathBuf>,
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
        let log = self.guest.needs_name();
        Wish { name: self.guest.name.as_deref(), keep, log, image: self.image.as_deref() }
    }

    /// Whoever is at the command's terminal may leave, and the guest goes on: it can be found again, and says what it says
    /// to its log.
    pub(crate) fn can_be_left(&self) -> bool {
        let Self { image, guest, process, .. } = self;
        let has_keys = process.tty && process.interactive && process.detach_keys != DetachKeys::none();
        image.is_some() && guest.name.is_some() && has_keys && isatty(stdin())
    }

    /// Where the guest's console is; standard input and output are nobody's in the background.
    pub(crate) fn console(&self) -> &Console {
        match &self.console {
            Some(Console::Stdio) | None if self.guest.in_background => &Console::None,
            Some(console) => console,
            None if self.image.is_some() => &Console::None,
            None => &Console::Stdio,
        }
    }

    /// Writes down what the guest is made of.
    pub(crate) fn describe(&self, record: &mut Record) {
        record.kernel = self.kernel.as_ref().map(|kernel| kernel.display().to_string());
        record.command.clone_from(&self.command);
        record.cpus = self.cpus;
        record.memory = self.memory;
        record.sandbox = Some(sandbox::describe(self.sandbox));
    }
}
