//! `hv exec`: a command in a running guest.

use hv_agent_protocol::PORT;

use crate::{
    agent::{
        self,
        session::{self, Ended},
    },
    args::ExecArguments,
    exit_code::Code,
    guests::{Guest, vsock},
    message,
};

/// Runs a command, with the environment, working directory and user of the guest's own; the code is the command's, or 0 where it goes on alone.
pub(super) fn exec(guest: &Guest, arguments: &ExecArguments) -> anyhow::Result<Code> {
    let stream = vsock::connect(&guest.vsock_socket(), PORT)?;
    let mut start = agent::start(arguments.command.clone(), &arguments.process);
    if let Some(own) = guest.process() {
        // As the guest's own command runs, unless it is said otherwise.
        agent::fill_in(&mut start, own.environment, own.working_directory, own.user);
    }
    if arguments.detach {
        return session::run_detached(stream, &start).map(agent::code);
    }
    let ended = session::run(stream, &start, &arguments.process.detach_keys)?;
    if ended == Ended::Detached {
        message::line(&format!("the command goes on in guest {}", guest.name));
    }
    Ok(agent::code(ended))
}
