//! A terminal for `hv`.

use std::{
    fs::{self, OpenOptions},
    process::{Child, Command},
};

use rustix::{
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{LocalModes, tcgetattr},
};

use crate::guest::PATIENCE;

/// A pseudo-terminal with a person at it.
pub(crate) struct Terminal {
    host: rustix::fd::OwnedFd,
    guest: fs::File,
}

impl Terminal {
    pub(crate) fn open() -> Self {
        let host = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        rustix::io::fcntl_setfd(&host, rustix::io::FdFlags::CLOEXEC).unwrap();
        grantpt(&host).unwrap();
        unlockpt(&host).unwrap();
        let name = ptsname(&host, Vec::new()).unwrap().into_string().unwrap();
        Self { host, guest: OpenOptions::new().read(true).write(true).open(name).unwrap() }
    }

    pub(crate) fn far(&self) -> fs::File {
        self.guest.try_clone().unwrap()
    }

    /// Starts a command with this terminal.
    pub(crate) fn start(&self, mut command: Command) -> Child {
        command.stdin(self.far()).stdout(self.far()).stderr(self.far()).spawn().unwrap()
    }

    pub(crate) fn type_in(&self, keys: &[u8]) {
        rustix::io::write(&self.host, keys).unwrap();
    }

    /// Reads what is shown until it holds `text`.
    pub(crate) fn wait_for(&self, text: &str) {
        let (mut shown, mut buffer) = (Vec::new(), [0; 256]);
        while !String::from_utf8_lossy(&shown).contains(text) {
            let timeout = PATIENCE.try_into().unwrap();
            let mut ready = [rustix::event::PollFd::new(&self.host, rustix::event::PollFlags::IN)];
            let count = rustix::event::poll(&mut ready, Some(&timeout)).unwrap();
            assert_ne!(count, 0, "{text:?} is not shown, but {:?}", String::from_utf8_lossy(&shown));
            let count = rustix::io::read(&self.host, &mut buffer).unwrap();
            shown.extend(&buffer[..count]);
        }
    }

    pub(crate) fn is_raw(&self) -> bool {
        !tcgetattr(&self.host).unwrap().local_modes.contains(LocalModes::ICANON)
    }
}
