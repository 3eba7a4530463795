//! The `hv` command.

#[expect(dead_code, reason = "guests of images come next")]
mod agent;
mod args;
mod backend;
mod config;
mod console;
mod doctor;
mod escape;
mod exit_code;
mod host_files;
mod host_memory;
#[cfg_attr(not(test), expect(dead_code, reason = "guests of images come next"))]
mod initramfs;
mod input;
#[cfg(target_os = "macos")]
mod macos;
mod message;
mod run;
mod signals;
mod terminal;

use std::process::ExitCode as Code;

use clap::{Parser, error::ErrorKind};

use args::{Arguments, Command};
use exit_code::ExitCode;

fn main() -> Code {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return usage(&error),
    };
    message::start_log(arguments.verbose);
    match arguments.command {
        Command::Run(run) => run::run(&run).unwrap_or_else(|error| {
            message::error(&error, arguments.verbose);
            ExitCode::Failed.into()
        }),
        Command::Doctor => doctor::doctor(),
    }
}

/// Help and version are asked for; all else is an error.
fn usage(error: &clap::Error) -> Code {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            // A reader that left early, as `head` does, has seen enough.
            let _ = error.print();
            Code::SUCCESS
        }
        _ => {
            message::line(&args::usage_line(error));
            ExitCode::Usage.into()
        }
    }
}
