//! The `hv` command.

mod agent;
mod args;
mod attended;
mod backend;
mod background;
mod commands;
mod config;
mod console;
mod detach_keys;
mod doctor;
mod escape;
mod exit_code;
mod folders;
mod guests;
mod host_files;
mod host_memory;
mod image;
mod images;
mod initramfs;
mod input;
mod linux_signal;
#[cfg(target_os = "macos")]
mod macos;
mod manifest;
mod message;
mod network;
#[cfg(target_os = "linux")]
mod own_pages;
mod progress;
mod run;
mod sandbox;
mod signals;
mod table;
mod terminal;
mod threads;

use std::process::ExitCode as Code;

use clap::{Parser, error::ErrorKind};

use args::{Arguments, Command};
use exit_code::ExitCode;

fn main() -> Code {
    let words = match manifest::complete(std::env::args_os().collect()) {
        Ok(words) => words,
        Err(error) => {
            message::line(&error);
            return ExitCode::Usage.into();
        }
    };
    let arguments = match Arguments::try_parse_from(words).and_then(args::check) {
        Ok(arguments) => arguments,
        Err(error) => return usage(&error),
    };
    message::start_log(arguments.verbose);
    let ended = match &arguments.command {
        Command::Run(run) => run::run(run),
        Command::Doctor => return doctor::doctor(),
        command => commands::obey(command),
    };
    let code = ended.unwrap_or_else(|error| {
        message::error(&error, arguments.verbose);
        ExitCode::Failed.into()
    });
    code.into()
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
