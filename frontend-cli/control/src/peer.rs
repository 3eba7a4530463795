//! Who is at the other end of a control socket.

#[cfg(target_os = "macos")]
mod macos;

use std::os::unix::net::UnixStream;

use rustix::process::{Uid, geteuid};

/// Whether the process at the other end is the same user's as this one, or root's. One that the host does not know is not.
pub(crate) fn is_trusted(stream: &UnixStream) -> bool {
    user(stream).is_some_and(|user| may_speak(user, geteuid()))
}

fn may_speak(user: Uid, own: Uid) -> bool {
    user == own || user.is_root()
}

/// The user of the process that connected.
fn user(stream: &UnixStream) -> Option<Uid> {
    #[cfg(target_os = "linux")]
    {
        rustix::net::sockopt::socket_peercred(stream).ok().map(|peer| peer.uid)
    }
    #[cfg(target_os = "macos")]
    {
        macos::user(stream)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_user_and_root_may_speak() {
        let [root, one, other] = [0, 1000, 1001].map(Uid::from_raw);
        assert!(may_speak(one, one) && may_speak(root, one) && may_speak(root, root));
        assert!(!may_speak(other, one) && !may_speak(one, root));
    }

    #[test]
    fn the_host_knows_who_connected() {
        let (near, _far) = UnixStream::pair().unwrap();
        assert_eq!(user(&near), Some(geteuid()));
        assert!(is_trusted(&near));
    }
}
