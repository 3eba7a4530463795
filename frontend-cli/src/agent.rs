//! The agent in a guest, as `hv` carries it and speaks to it; `docs/agent.md` describes it.

pub(crate) mod control;
pub(crate) mod session;

use hv_agent_protocol::{Size, Start};

use self::session::Ended;
use crate::{args::ProcessArguments, exit_code::Code, message, terminal};

/// The agent's executable for guests with x86_64 processors; empty where `hv` runs none.
pub(crate) const X86_64: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/hv-init-x86_64"));

/// The agent's executable for guests with arm64 processors; empty where `hv` runs none.
pub(crate) const AARCH64: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/hv-init-aarch64"));

/// The most characters of what the agent says that are shown.
const MOST_TEXT: usize = 400;

/// The size of a terminal that does not tell it.
const USUAL_SIZE: (u16, u16) = (80, 24);

/// A command as the agent is told of it.
pub(crate) fn start(arguments: Vec<String>, process: &ProcessArguments) -> Start {
    let ProcessArguments { interactive, tty, env, workdir, user, detach_keys: _ } = process;
    let (columns, rows) = terminal::size().unwrap_or(USUAL_SIZE);
    let kind = std::env::var("TERM").ok().filter(|_| *tty).map(|kind| ("TERM".to_owned(), kind));
    Start {
        arguments,
        environment: kind.into_iter().chain(env.iter().cloned()).collect(),
        working_directory: workdir.clone().unwrap_or_default(),
        user: user.clone(),
        terminal: tty.then_some(Size { columns, rows }),
        stdin: *interactive,
    }
}

/// Fills in what the command line does not say: variables come before its own, the rest only where it says nothing.
pub(crate) fn fill_in(
    start: &mut Start,
    environment: impl IntoIterator<Item = (String, String)>,
    working_directory: String,
    user: Option<String>,
) {
    start.environment.splice(0..0, environment);
    if start.working_directory.is_empty() {
        start.working_directory = working_directory;
    }
    start.user = start.user.take().or(user);
}

/// The exit code that a command's end means. Why one could not be run is told.
pub(crate) fn code(ended: Ended) -> Code {
    match ended {
        Ended::Exited(code) => Code(code),
        Ended::Detached => Code::SUCCESS,
        Ended::NotRun(code, why) => {
            message::line(&why);
            Code(code)
        }
    }
}

/// What the agent says, as part of one line.
fn shown(text: &str) -> String {
    text.chars().take(MOST_TEXT).map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_agent_is_small_and_there_for_the_guests_of_this_host() {
        let own = if cfg!(target_arch = "x86_64") { X86_64 } else { AARCH64 };
        assert!(own.starts_with(b"\x7fELF"));
        for agent in [X86_64, AARCH64] {
            assert!(agent.len() <= 700 << 10, "{} bytes", agent.len());
        }
    }
}
