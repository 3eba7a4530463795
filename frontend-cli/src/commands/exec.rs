//! `hv exec`: a command in a running guest.

use hv_agent_protocol::PORT;

use crate::{
    agent::{self, session},
    args::ExecArguments,
    exit_code::Code,
    guests::{Guest, vsock},
};

/// Runs a command; the code is the command's own.
pub(super) fn exec(guest: &Guest, arguments: &ExecArguments) -> anyhow::Result<Code> {
    let stream = vsock::connect(&guest.vsock_socket(), PORT)?;
    let start = agent::start(arguments.command.clone(), &arguments.process);
    session::run(stream, &start).map(agent::code)
}
