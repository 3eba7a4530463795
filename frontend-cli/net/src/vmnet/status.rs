//! `Status`: what vmnet answers (`vmnet_return_t` of `vmnet/vmnet.h`), and what to make of it.

use std::io;

use crate::NetError;

/// A `vmnet_return_t`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Status(pub(super) u32);

impl Status {
    pub(super) const SUCCESS: Self = Self(1000);
    const FAILURE: Self = Self(1001);
    const NO_MEMORY: Self = Self(1002);
    pub(super) const INVALID_ARGUMENT: Self = Self(1003);
    const SETUP_INCOMPLETE: Self = Self(1004);
    const INVALID_ACCESS: Self = Self(1005);
    pub(super) const PACKET_TOO_BIG: Self = Self(1006);
    pub(super) const BUFFER_EXHAUSTED: Self = Self(1007);
    const TOO_MANY_PACKETS: Self = Self(1008);
    const SHARING_SERVICE_BUSY: Self = Self(1009);
    pub(super) const NOT_AUTHORIZED: Self = Self(1010);

    /// What it says, in words.
    fn text(self) -> &'static str {
        match self {
            Self::SUCCESS => "nothing is wrong",
            Self::NO_MEMORY => "it has no memory",
            Self::INVALID_ARGUMENT => "it does not take an argument",
            Self::SETUP_INCOMPLETE => "the interface is not set up",
            Self::INVALID_ACCESS => "access is not allowed",
            Self::PACKET_TOO_BIG => "a frame is too long",
            Self::BUFFER_EXHAUSTED => "its buffers are full",
            Self::TOO_MANY_PACKETS => "these are too many frames at once",
            Self::SHARING_SERVICE_BUSY => "another service that shares the network is in the way",
            Self::NOT_AUTHORIZED => "this process is not allowed to use it",
            _ => "it failed and does not say why",
        }
    }

    pub(super) fn check(self) -> Result<(), Self> {
        if self == Self::SUCCESS { Ok(()) } else { Err(self) }
    }

    /// Why no interface was started. Before macOS 11 had a status of its own for it, who was not allowed got the general
    /// one; `is_root` tells both apart.
    pub(super) fn refusal(self, is_root: bool) -> NetError {
        match self {
            Self::NOT_AUTHORIZED | Self::INVALID_ACCESS => NetError::VmnetNotAuthorized,
            Self::FAILURE if !is_root => NetError::VmnetNotAuthorized,
            _ => NetError::Vmnet { reason: self.text(), status: self.0 },
        }
    }
}

impl From<Status> for io::Error {
    fn from(status: Status) -> Self {
        Self::other(format!("vmnet: {} (status {})", status.text(), status.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_say_what_to_do() {
        let line = |status, is_root| Status(status).refusal(is_root).to_string();
        for (status, is_root) in [(1010, false), (1010, true), (1005, false), (1001, false)] {
            let line = line(status, is_root);
            assert!(line.contains("sudo") && line.contains("socket="), "{status}: {line}");
        }
        for (status, is_root, expected) in [
            (1001, true, "1001"),
            (1009, false, "another service"),
            (1002, false, "no memory"),
            (7, true, "status 7"),
        ] {
            let line = line(status, is_root);
            assert!(line.contains(expected) && line.contains("; ") && !line.contains("sudo"), "{line}");
        }
    }

    #[test]
    fn only_success_is_none() {
        assert_eq!(Status(1000).check(), Ok(()));
        for status in [0, 999, 1001, 1010, u32::MAX] {
            assert_eq!(Status(status).check(), Err(Status(status)));
        }
    }
}
