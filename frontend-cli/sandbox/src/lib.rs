//! The sandbox: what a process that runs a guest may still do once everything is opened and before the guest's first instruction.
//!
//! [`ready`] first, before anything is opened; then whatever the guest needs is opened; then [`Sandbox::close`] on the only thread
//! that there is, with a [`Plan`] of what is needed later. Each thread that is made after that says at its beginning which
//! [`Thread`] it is ([`Sandbox::begin`]), and can do from then on what that kind needs and nothing else.

mod limits;
#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "macos")]
mod macos;
mod process;
pub mod profile;

use std::{fmt, path::PathBuf};

#[cfg(target_os = "linux")]
pub use linux::{Sandbox, support};
#[cfg(target_os = "macos")]
pub use macos::{Sandbox, support};
pub use process::ready;

/// What happens to a thread that does what it may not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// The process ends.
    #[default]
    On,
    /// The host's log hears of it, as far as the host has one for this.
    Log,
    /// Nothing: there is no sandbox.
    Off,
}

/// What a thread is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Thread {
    /// It runs a vCPU.
    Core,
    /// It serves virtqueues with what their device holds: disks, consoles, entropy, the balloon.
    Worker,
    /// It serves a network card.
    Network,
    /// It serves the virtio sockets.
    Sockets,
    /// It serves the person, other processes of this user and the guest's agent; every thread that is none of the others.
    Session,
}

impl Thread {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Core, Self::Worker, Self::Network, Self::Sockets, Self::Session];
}

impl fmt::Display for Thread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Core => "vCPU",
            Self::Worker => "worker",
            Self::Network => "network",
            Self::Sockets => "sockets",
            Self::Session => "session",
        })
    }
}

/// What runs the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hypervisor {
    /// The host's own: KVM, Hypervisor.framework.
    Native,
    /// A translator, which makes code as it goes.
    Emulator,
}

/// What the guest's network card leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// There is none.
    None,
    /// The network in this process: connections to anywhere.
    User,
    /// Both that and a private segment of guests, which are Unix sockets.
    UserAndSegment,
    /// A tap.
    Tap,
    /// The Unix socket of another program.
    Socket,
    /// vmnet.framework.
    Vmnet,
}

/// What may be done with a path after the doors are closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Read the file, or the files below the folder.
    Read,
    /// Read and write this file or device, which is there.
    Write,
    /// Anything with files, sockets and folders below this folder.
    Own,
    /// Remove empty folders in this folder.
    RemoveFolders,
}

/// A path that is needed after the doors are closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Where it is.
    pub path: PathBuf,
    /// What for.
    pub access: Access,
}

impl Place {
    /// `path`, to be used for `access`.
    pub fn new(path: impl Into<PathBuf>, access: Access) -> Self {
        Self { path: path.into(), access }
    }
}

/// What a guest needs of its host when everything is opened.
#[derive(Debug, Clone)]
pub struct Plan {
    /// What happens at a violation.
    pub mode: Mode,
    /// What runs the guest.
    pub hypervisor: Hypervisor,
    /// Bytes of the guest's RAM.
    pub memory: u64,
    /// What its card leads to.
    pub network: Network,
    /// Paths; one that is not there is not needed.
    pub places: Vec<Place>,
    /// The exit code of a process that ends for a violation.
    pub code: i32,
    /// Called before the process ends for a violation, on the thread that did it, at any moment: it must take no lock
    /// that it could wait for, and no memory.
    pub last: fn(),
}

/// One part of the sandbox, and what this host has of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// What it is.
    pub name: &'static str,
    /// What it does here.
    pub has: String,
    /// What it would do on another host and does not here; nothing if nothing is missing.
    pub lacks: Option<String>,
}

/// The doors could not be closed.
#[derive(Debug)]
pub struct Error {
    step: &'static str,
    reason: String,
}

impl Error {
    pub(crate) fn new(step: &'static str, reason: impl fmt::Display) -> Self {
        Self { step, reason: reason.to_string() }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the sandbox cannot be closed: {}: {}; `--sandbox off` runs the guest without",
            self.step, self.reason
        )
    }
}

impl std::error::Error for Error {}
