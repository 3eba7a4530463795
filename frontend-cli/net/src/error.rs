//! `NetError`: why a network cable leads nowhere.

use std::{
    io,
    path::{Path, PathBuf},
};

/// Why a guest's network card cannot be connected. Each is one line: what, which value, what to do.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// A name that no interface can have.
    #[error(
        "{name:?} is not the name of a network interface; give 1 to 15 letters, digits or signs, no space, no '/'"
    )]
    TapName {
        /// As it was given.
        name: String,
    },
    /// Taps are Linux's.
    #[error("tap {name}: there are taps on Linux only; use --net user or --net socket=PATH")]
    TapElsewhere {
        /// As it was given.
        name: String,
    },
    /// The host's kernel has no taps, or does not give them to this user.
    #[error(
        "tap {name}: /dev/net/tun cannot be opened: {reason}; load the module (modprobe tun) or ask for access to it"
    )]
    TunDevice {
        /// As it was given.
        name: String,
        /// The host's.
        reason: io::Error,
    },
    /// No interface of that name.
    #[error(
        "there is no tap {name}; make it: sudo ip tuntap add {name} mode tap user $USER && sudo ip link set {name} up"
    )]
    NoSuchTap {
        /// As it was given.
        name: String,
    },
    /// An interface, but not a tap.
    #[error(
        "{name} is a network interface, but not a tap; give another name, or make one: sudo ip tuntap add NAME mode tap user $USER"
    )]
    NotATap {
        /// As it was given.
        name: String,
    },
    /// It was made for another user.
    #[error(
        "tap {name} belongs to another user; make it for this one: sudo ip tuntap add {name} mode tap user $USER"
    )]
    TapOfAnother {
        /// As it was given.
        name: String,
    },
    /// Somebody has it.
    #[error("tap {name} is in use by another process; end it, or give each guest a tap of its own")]
    TapBusy {
        /// As it was given.
        name: String,
    },
    /// It was made for one queue.
    #[error(
        "tap {name} has one queue, not {queues}; leave out queues=, or make it anew: sudo ip tuntap add {name} mode tap multi_queue user $USER"
    )]
    TapQueues {
        /// As it was given.
        name: String,
        /// Queue pairs that were asked for.
        queues: u16,
    },
    /// The host's kernel says no for another reason.
    #[error("tap {name} cannot be set up ({step}): {reason}; see: ip -details link show {name}")]
    Tap {
        /// As it was given.
        name: String,
        /// What was tried.
        step: &'static str,
        /// The host's.
        reason: io::Error,
    },
    /// A number of queue pairs that no card has.
    #[error("a network card cannot have {queues} queues; give 1 to 256")]
    Queues {
        /// As it was given.
        queues: u16,
    },
    /// Nothing is there.
    #[error("there is no socket {}; start passt, gvproxy or what else is to serve it first", path.display())]
    NoSuchSocket {
        /// As it was given.
        path: PathBuf,
    },
    /// A file of another kind.
    #[error("{} is not a socket; give the path that passt (--socket) or gvproxy (--listen-qemu, --listen-vfkit) listens on", path.display())]
    NotASocket {
        /// As it was given.
        path: PathBuf,
    },
    /// What had made it is gone.
    #[error("nobody listens on socket {}; start passt, gvproxy or what else is to serve it again", path.display())]
    NobodyListens {
        /// As it was given.
        path: PathBuf,
    },
    /// It is another user's.
    #[error("socket {} is not open to this user; start what serves it as this user", path.display())]
    SocketOfAnother {
        /// As it was given.
        path: PathBuf,
    },
    /// Longer than addresses of Unix sockets can be.
    #[error("{} is too long for the path of a socket (the host takes {limit} bytes); use a shorter folder", path.display())]
    LongPath {
        /// As it was given or made.
        path: PathBuf,
        /// Bytes.
        limit: usize,
    },
    /// The host says no for another reason.
    #[error("socket {} cannot be connected to: {reason}; check what serves it", path.display())]
    Socket {
        /// As it was given.
        path: PathBuf,
        /// The host's.
        reason: io::Error,
    },
    /// A name that a member of a segment cannot have.
    #[error(
        "{guest:?} cannot be a guest's name on a network segment; give 1 to {limit} letters, digits, '-', '_' or '.'"
    )]
    MemberName {
        /// As it was given.
        guest: String,
        /// Bytes.
        limit: usize,
    },
    /// The name is taken.
    #[error("a guest {guest} is already on the network segment {}; give this one another name", folder.display())]
    MemberExists {
        /// As it was given.
        guest: String,
        /// The segment's.
        folder: PathBuf,
    },
    /// No more members.
    #[error("the network segment {} has {limit} guests already; end one, or use another segment", folder.display())]
    SegmentFull {
        /// The segment's.
        folder: PathBuf,
        /// Guests.
        limit: usize,
    },
    /// The folder is open to others or is none.
    #[error("folder {} of the network segment is not this user's alone; make it so (chmod 700) or remove it", folder.display())]
    SegmentFolder {
        /// The segment's.
        folder: PathBuf,
    },
    /// The host says no for another reason.
    #[error("the network segment {} cannot be joined: {reason}; check that its folder can be written", folder.display())]
    Segment {
        /// The segment's.
        folder: PathBuf,
        /// The host's.
        reason: io::Error,
    },
    /// vmnet is macOS's.
    #[error("vmnet: there is vmnet on macOS only; use --net user, --net tap=NAME or --net socket=PATH")]
    VmnetElsewhere,
    /// macOS gives vmnet to others only.
    #[error(
        "vmnet: macOS gives it to root and to programs with Apple's entitlement com.apple.vm.networking only; run hv by sudo, or use --net socket=PATH with vmnet-helper"
    )]
    VmnetNotAuthorized,
    /// vmnet says no for another reason.
    #[error(
        "vmnet cannot be started: {reason} (status {status}); end other programs that share this Mac's network, or use --net user"
    )]
    Vmnet {
        /// In words.
        reason: &'static str,
        /// The `vmnet_return_t`.
        status: u32,
    },
}

/// Bytes of a Unix socket's path: `sun_path` less the zero that ends it.
const LONGEST_PATH: usize = if cfg!(target_os = "linux") { 107 } else { 103 };

/// Refuses what is too long for the path of a Unix socket.
pub(crate) fn check_length(path: &Path) -> Result<(), NetError> {
    if path.as_os_str().len() > LONGEST_PATH {
        return Err(NetError::LongPath { path: path.to_owned(), limit: LONGEST_PATH });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_one_line_with_the_value() {
        let reason = || io::Error::from_raw_os_error(5);
        let all = [
            NetError::TapName { name: "a\nb VALUE".into() },
            NetError::TapElsewhere { name: "VALUE".into() },
            NetError::TunDevice { name: "VALUE".into(), reason: reason() },
            NetError::NotATap { name: "VALUE".into() },
            NetError::TapQueues { name: "VALUE".into(), queues: 3 },
            NetError::NobodyListens { path: "VALUE".into() },
            NetError::Socket { path: "VALUE".into(), reason: reason() },
            NetError::MemberName { guest: "\nVALUE".into(), limit: 3 },
            NetError::SegmentFull { folder: "VALUE".into(), limit: 3 },
        ];
        for line in all.map(|error| error.to_string()) {
            assert!(line.contains("VALUE") && line.contains("; ") && !line.contains('\n'), "{line}");
        }
    }
}
