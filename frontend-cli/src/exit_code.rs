//! The exit codes of `hv`.

/// How `hv` ends, beside 0 for a guest that powered off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum ExitCode {
    /// The command line was not understood.
    Usage = 2,
    /// A thread of `hv` did what its sandbox forbids.
    Forbidden = 122,
    /// The guest crashed: kernel panic, triple fault, fatal vCPU error.
    GuestCrashed = 123,
    /// `--timeout` passed and the guest was stopped.
    TimedOut = 124,
    /// `hv` itself could not do it.
    Failed = 125,
}

/// A code to exit with, that can be told to others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Code(pub(crate) u8);

impl Code {
    pub(crate) const SUCCESS: Self = Self(0);
    /// The guest was ended by another process: as a shell has it of a process that SIGKILL ended.
    pub(crate) const KILLED: Self = Self(128 + 9);
}

impl From<ExitCode> for Code {
    fn from(code: ExitCode) -> Self {
        Self(code as u8)
    }
}

impl From<Code> for std::process::ExitCode {
    fn from(code: Code) -> Self {
        Self::from(code.0)
    }
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        Self::from(code as u8)
    }
}
