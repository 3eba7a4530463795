//! `getpeereid(3)`, made safe.
#![expect(unsafe_code, reason = "getpeereid has no safe form")]

use std::os::{fd::AsRawFd, unix::net::UnixStream};

use rustix::process::Uid;

/// The effective user of the process that connected.
pub(super) fn user(stream: &UnixStream) -> Option<Uid> {
    let (mut user, mut group) = (0, 0);
    // SAFETY: the descriptor is open during the call, which writes two numbers.
    let result = unsafe { libc::getpeereid(stream.as_raw_fd(), &raw mut user, &raw mut group) };
    (result == 0).then(|| Uid::from_raw(user))
}
