//! The exit codes of `hv`.

/// How `hv` ends, beside 0 for a guest that powered off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum ExitCode {
    /// The command line was not understood.
    Usage = 2,
    /// The guest crashed: kernel panic, triple fault, fatal vCPU error.
    GuestCrashed = 123,
    /// `--timeout` passed and the guest was stopped.
    TimedOut = 124,
    /// `hv` itself could not do it.
    Failed = 125,
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        Self::from(code as u8)
    }
}
