//! What is wrong with a user network before it exists.

use std::{io, net::SocketAddr};

use thiserror::Error;

use super::Protocol;

/// A user network that cannot be.
#[derive(Debug, Error)]
pub enum UserError {
    /// A port of the host that cannot be forwarded.
    #[error("cannot forward {address}/{protocol} to the guest: {}", cure(source))]
    Bind {
        /// The address and port of the host.
        address: SocketAddr,
        /// What was to be forwarded.
        protocol: Protocol,
        /// What the host says.
        source: io::Error,
    },
    /// The same port of the host twice.
    #[error("{address}/{protocol} is forwarded twice: give one of the two another port")]
    Twice {
        /// The address and port of the host.
        address: SocketAddr,
        /// What was to be forwarded.
        protocol: Protocol,
    },
}

fn cure(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "the port is in use: give another port, or 0 for any that is free".to_owned()
        }
        io::ErrorKind::AddrNotAvailable => {
            "the address is none of this host's: give one of its own, such as 127.0.0.1".to_owned()
        }
        io::ErrorKind::PermissionDenied => {
            "this host keeps the port for root: give one of 1024 or above".to_owned()
        }
        _ => error.to_string(),
    }
}
