//! The messages. The order of variants and fields is the protocol: a change of either is a new version.

use serde::{Deserialize, Serialize};

/// What the host says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum HostMessage<'a> {
    /// Control: the answer to `Hello`. This variant and its version stay the same in all versions.
    Welcome {
        /// [`VERSION`](crate::VERSION) of the host.
        version: u32,
        /// The host's time, in nanoseconds since 1970 (UTC).
        time: u64,
    },
    /// Control: the host's time has stepped (it slept, or the guest was paused).
    Time {
        /// In nanoseconds since 1970 (UTC).
        time: u64,
    },
    /// Control: to be answered by `Pong` with the same number.
    Ping(u32),
    /// Control: end all processes and power off.
    PowerOff {
        /// How long processes have between SIGTERM and SIGKILL, in milliseconds.
        grace: u32,
    },
    /// Control: end all processes and reset the machine.
    Reboot {
        /// As for `PowerOff`.
        grace: u32,
    },
    /// Session: the first message, the command.
    Start(Start),
    /// Session: standard input; at most [`WINDOW`](crate::WINDOW) bytes that the agent has not taken.
    Stdin(#[serde(borrow, with = "serde_bytes")] &'a [u8]),
    /// Session: standard input has ended.
    StdinEnd,
    /// Session: send this signal, by its Linux number.
    Signal(u8),
    /// Session: the terminal has another size.
    Resize(Size),
    /// Session: nobody reads this any more.
    OutputClosed(Stream),
    /// Session: the command goes on without the host, from the answer `Detached` on. The last message.
    Detach,
}

/// What the agent says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum AgentMessage<'a> {
    /// Control: the first message. This variant and its version stay the same in all versions.
    Hello {
        /// [`VERSION`](crate::VERSION) of the agent.
        version: u32,
        /// The release of the guest's kernel, as `uname -r` has it.
        release: &'a str,
    },
    /// Control: the root is mounted and sessions are accepted.
    Ready,
    /// Control: the guest cannot be brought up; it powers off.
    BootFailed {
        /// What failed, in one line.
        reason: &'a str,
    },
    /// Control: the answer to `Ping`.
    Pong(u32),
    /// Control: the guest powers off, because the host or somebody in the guest asked for it.
    PoweringOff,
    /// Control: the guest resets itself. A reset without this is a crash.
    Rebooting,
    /// Session: the command runs.
    Started {
        /// Its process in the guest.
        pid: u32,
    },
    /// Session: standard output; with a terminal, all that is shown on it.
    Stdout(#[serde(borrow, with = "serde_bytes")] &'a [u8]),
    /// Session: standard error.
    Stderr(#[serde(borrow, with = "serde_bytes")] &'a [u8]),
    /// Session: that many more bytes of standard input went to the command.
    StdinTaken(u32),
    /// Session: the command closed its standard input; what comes is thrown away.
    StdinClosed,
    /// Session: the command ended, and all its output was sent. The last message.
    Exited(Status),
    /// Session: the command could not be run. The last message.
    Failed {
        /// 127 if it was not found, else 126.
        code: u8,
        /// Why, in one line.
        reason: &'a str,
    },
    /// Session: the answer to `Detach`. The last message.
    Detached,
}

/// A command to run.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Start {
    /// The program, looked up in `PATH` where it has no `/`, and its arguments.
    pub arguments: Vec<String>,
    /// Names and values, in order. `PATH`, `HOME`, `USER`, `HOSTNAME` and, with a terminal, `TERM` have defaults.
    pub environment: Vec<(String, String)>,
    /// Where it runs; `/` if empty. Made if missing.
    pub working_directory: String,
    /// `name`, `uid`, `name:group`, `uid:gid` or a mixture; root if there is none.
    pub user: Option<String>,
    /// With a terminal, of this size. Standard error is standard output then.
    pub terminal: Option<Size>,
    /// Standard input comes by `Stdin`; without it, it is `/dev/null`.
    pub stdin: bool,
}

/// The size of a terminal in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Size {
    /// Characters in a line.
    pub columns: u16,
    /// Lines.
    pub rows: u16,
}

/// One of the two outputs of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    /// It exited with this code.
    Code(u8),
    /// This signal ended it.
    Signal(u8),
}
