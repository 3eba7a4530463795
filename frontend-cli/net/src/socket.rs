//! Another program's socket as a network: passt, QEMU's `-netdev stream`, gvproxy, vfkit's peers, vmnet-helper.

mod connection;
mod datagram;
mod outbox;
pub mod stream;

use std::{
    fs, io,
    os::{fd::AsFd, unix::fs::FileTypeExt},
    path::{Path, PathBuf},
};

use hv_core::net::NetBackend;
use rustix::{io::Errno, net::sockopt};

use crate::{NetError, error};

/// Bytes that the host should hold for the other side to take.
const SEND_BUFFER: usize = 1 << 20;
/// Bytes that the host should hold for the guest.
const RECEIVE_BUFFER: usize = 4 << 20;

/// Connects to the program that serves `path`: by the stream protocol if it is a stream socket (frames behind their
/// length), else by the datagram protocol (a frame in each). Neither has a header, so nothing is left to the other.
///
/// The datagram protocol needs a path of this end's own: in a new folder in `parent`, which is told and goes with the network.
///
/// # Errors
/// Nobody serves it, or not for this user.
pub fn connect(path: &Path, parent: &Path) -> Result<(Box<dyn NetBackend>, Option<PathBuf>), NetError> {
    error::check_length(path)?;
    let owned = || path.to_owned();
    let metadata = fs::metadata(path).map_err(|error| reason(path, error))?;
    if !metadata.file_type().is_socket() {
        return Err(NetError::NotASocket { path: owned() });
    }
    match stream::Stream::connect(path) {
        Ok(stream) => Ok((Box::new(stream), None)),
        Err(error) if Errno::from_io_error(&error) == Some(Errno::PROTOTYPE) => {
            let datagram = datagram::Datagram::connect(path, parent).map_err(|error| reason(path, error))?;
            let folder = datagram.folder().to_owned();
            Ok((Box::new(datagram), Some(folder)))
        }
        Err(error) => Err(reason(path, error)),
    }
}

fn reason(path: &Path, error: io::Error) -> NetError {
    let path = path.to_owned();
    match error.kind() {
        io::ErrorKind::NotFound => NetError::NoSuchSocket { path },
        io::ErrorKind::ConnectionRefused => NetError::NobodyListens { path },
        io::ErrorKind::PermissionDenied => NetError::SocketOfAnother { path },
        _ => NetError::Socket { path, reason: error },
    }
}

/// Asks for room for many frames; the host gives what it allows.
pub(crate) fn enlarge(socket: impl AsFd) {
    let sizes = [
        sockopt::set_socket_send_buffer_size(&socket, SEND_BUFFER),
        sockopt::set_socket_recv_buffer_size(&socket, RECEIVE_BUFFER),
    ];
    for error in sizes.into_iter().filter_map(Result::err) {
        tracing::debug!("a network socket keeps its buffer: {error}");
    }
}

/// Whether the host had no room: macOS says `ENOBUFS` where others block.
pub(crate) fn is_full(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock || Errno::from_io_error(error) == Some(Errno::NOBUFS)
}

#[cfg(test)]
mod tests;
