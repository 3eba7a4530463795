//! `Process`: the command as a process, from its start to its status.

use std::{
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::{Duration, Instant},
};

use hv_agent_protocol::Status;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, Signal, kill_process_group},
    termios::tcgetpgrp,
};

use crate::Children;

/// How long a command has between SIGHUP and SIGKILL when the host is gone.
const HANG_UP_GRACE: Duration = Duration::from_secs(5);

/// How long SIGKILL may take. A process that the kernel holds longer is left to it.
const KILL_TIME: Duration = Duration::from_secs(2);

/// The command. It leads a session and a process group of its own.
#[derive(Debug)]
pub(super) struct Process<'a> {
    children: &'a Children,
    pid: Pid,
    /// Readable when the process has ended.
    pidfd: OwnedFd,
}

impl<'a> Process<'a> {
    pub(super) fn new(children: &'a Children, pid: Pid, pidfd: OwnedFd) -> Self {
        Self { children, pid, pidfd }
    }

    /// Its number in the guest.
    pub(super) fn id(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// How it ended, once, if it has.
    pub(super) fn take_status(&self) -> Option<Status> {
        self.children.take(self.pid)
    }

    /// Sends a signal to the command and what it runs. Those that a key would send go to what is in the foreground of its
    /// terminal. It must not have ended.
    pub(super) fn signal(&self, number: u8, terminal: Option<&OwnedFd>) {
        let Some(signal) = Signal::from_named_raw(i32::from(number)) else { return };
        let by_key = [Signal::INT, Signal::QUIT, Signal::TSTP].contains(&signal);
        let foreground = terminal.filter(|_| by_key).and_then(|terminal| tcgetpgrp(terminal).ok());
        // It may be ending just now.
        let _ = kill_process_group(foreground.unwrap_or(self.pid), signal);
    }

    /// Ends it, with SIGHUP or else SIGKILL.
    pub(super) fn hang_up(&self) {
        let _ = kill_process_group(self.pid, Signal::HUP);
        let _ = kill_process_group(self.pid, Signal::CONT);
        if !self.ends_within(HANG_UP_GRACE) {
            let _ = kill_process_group(self.pid, Signal::KILL);
            self.ends_within(KILL_TIME);
        }
        if self.take_status().is_none() {
            self.children.forget(self.pid);
        }
    }

    fn ends_within(&self, time: Duration) -> bool {
        let until = Instant::now() + time;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let mut fds = [PollFd::new(&self.pidfd, PollFlags::IN)];
            match poll(&mut fds, Timespec::try_from(left).ok().as_ref()) {
                Ok(0) => return false,
                Ok(_) => return true,
                Err(_) if left.is_zero() => return false,
                Err(_) => {}
            }
        }
    }
}

impl AsFd for Process<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}
