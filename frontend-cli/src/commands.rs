//! The commands on guests that are there already.

mod console;
mod end;
mod exec;
mod image;
mod kernel;
mod list;
mod logs;

use std::io::{self, Write};

use anyhow::Context;
use clap::CommandFactory;
use hv_control::Request;
use serde::Serialize;

use crate::{
    args::{Arguments, Command, CompletionsArguments},
    exit_code::{Code, ExitCode},
    guests::{Guest, Guests, Places},
    message, table,
};

/// Does what the command line asks of guests by name.
pub(crate) fn obey(command: &Command) -> anyhow::Result<Code> {
    match command {
        Command::Completions(arguments) => return completions(arguments),
        Command::Image(command) => return image::image(command),
        Command::Kernel(command) => return kernel::kernel(command),
        _ => {}
    }
    let guests = Guests::find_all(&Places::of_this_user()?)?;
    match command {
        Command::Ps(arguments) => list::ps(&guests, arguments),
        Command::Inspect(arguments) => list::inspect(guests.named(&arguments.name)?),
        Command::Stop(arguments) => end::stop(&guests, arguments),
        Command::Kill(arguments) => end::kill(&guests, arguments),
        Command::Rm(arguments) => end::remove(&guests, arguments),
        Command::Wait(arguments) => end::wait(guests.named(&arguments.name)?),
        Command::Pause(arguments) => {
            each(&arguments.names, |name| tell(guests.running(name)?, &Request::Pause))
        }
        Command::Resume(arguments) => {
            each(&arguments.names, |name| tell(guests.running(name)?, &Request::Resume))
        }
        Command::Logs(arguments) => logs::logs(guests.named(&arguments.name)?, arguments),
        Command::Console(arguments) => console::console(guests.running(&arguments.name)?),
        Command::Exec(arguments) => exec::exec(guests.running(&arguments.name)?, arguments),
        Command::Run(_)
        | Command::Doctor
        | Command::Completions(_)
        | Command::Image(_)
        | Command::Kernel(_) => {
            anyhow::bail!("this command is not about guests that are there already")
        }
    }
}

/// Tells a guest's process something that has no answer but that it is done.
fn tell(guest: &Guest, request: &Request) -> anyhow::Result<()> {
    guest.control()?.request(request).with_context(|| format!("guest {}", guest.name)).map(drop)
}

/// Does something to each guest, and goes on where it fails for one.
fn each(names: &[String], mut act: impl FnMut(&str) -> anyhow::Result<()>) -> anyhow::Result<Code> {
    let mut code = Code::SUCCESS;
    for name in names {
        if let Err(error) = act(name) {
            message::line(&format!("{error:#}"));
            code = ExitCode::Failed.into();
        }
    }
    Ok(code)
}

/// Writes to standard output; says whether somebody still reads. A reader that left early, as `head` does, has seen
/// enough.
fn show(text: &[u8]) -> bool {
    let mut output = io::stdout().lock();
    output.write_all(text).and_then(|()| output.flush()).is_ok()
}

/// Writes a value as JSON for programs.
fn show_json(value: &impl Serialize) -> anyhow::Result<()> {
    let mut text = serde_json::to_vec_pretty(value)?;
    text.push(b'\n');
    show(&text);
    Ok(())
}

/// Writes a table for people.
fn show_table<const N: usize>(heading: [&str; N], rows: impl Iterator<Item = Vec<String>>) {
    let heading = heading.map(str::to_owned).to_vec();
    let rows: Vec<_> = std::iter::once(heading).chain(rows).collect();
    show(table::table(&rows).as_bytes());
}

fn completions(arguments: &CompletionsArguments) -> anyhow::Result<Code> {
    let mut text = Vec::new();
    clap_complete::generate(arguments.shell, &mut Arguments::command(), "hv", &mut text);
    match &arguments.output {
        Some(path) => {
            std::fs::write(path, text).with_context(|| format!("{} cannot be written", path.display()))?;
        }
        None => {
            show(&text);
        }
    }
    Ok(Code::SUCCESS)
}
