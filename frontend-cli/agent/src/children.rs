//! `Children`: the agent's child processes, and those that lost their parents.
//!
//! The first process must reap every process that nobody else waits for, while sessions want the status of theirs. So
//! one place starts and reaps all of them, under one lock: a child is never reaped before it is known.

use std::{
    collections::BTreeMap,
    io,
    os::fd::OwnedFd,
    process::Command,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
};

use hv_agent_protocol::Status;
use rustix::{
    io::Errno,
    process::{
        Pid, PidfdFlags, WaitId, WaitIdOptions, WaitOptions, WaitStatus, pidfd_open, wait, waitid, waitpid,
    },
};

/// The processes that sessions have started.
#[derive(Debug, Default)]
pub struct Children {
    table: Mutex<Table>,
    started: Condvar,
}

#[derive(Debug, Default)]
struct Table {
    /// How many were started, ever.
    started: u64,
    /// Those whose status was not taken yet, and the status of those that were reaped.
    known: BTreeMap<i32, Option<Status>>,
}

impl Children {
    /// Starts a child, whose status is to be taken or forgotten, with a descriptor that is readable when it has ended.
    pub(crate) fn spawn(&self, command: &mut Command) -> io::Result<(Pid, OwnedFd)> {
        let mut table = self.table();
        let mut child = command.spawn()?;
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or(Errno::SRCH)?;
        // Under the lock too: a child that has ended already is still there to be opened.
        let pidfd = pidfd_open(pid, PidfdFlags::empty());
        table.started += 1;
        self.started.notify_all();
        match pidfd {
            Ok(pidfd) => {
                table.known.insert(key(pid), None);
                Ok((pid, pidfd))
            }
            Err(error) => {
                let _ = child.kill();
                Err(io::Error::other(format!("the kernel cannot tell of its end: {error}")))
            }
        }
    }

    /// The status of a child that has ended, once. Its number is another process's from then on.
    pub(crate) fn take(&self, pid: Pid) -> Option<Status> {
        let mut table = self.table();
        let status = match table.known.get(&key(pid))? {
            Some(status) => Some(*status),
            None => match waitpid(Some(pid), WaitOptions::NOHANG) {
                Ok(Some((_, status))) => Some(status_of(status)),
                _ => None,
            },
        };
        if status.is_some() {
            table.known.remove(&key(pid));
        }
        status
    }

    /// Lets nobody wait for a child any more.
    pub(crate) fn forget(&self, pid: Pid) {
        self.table().known.remove(&key(pid));
    }

    /// Reaps what ends, for ever. For the first process, whose children are all that have no parent.
    pub fn reap(&self) {
        loop {
            let started = self.table().started;
            // Only looks, so that nothing is reaped without the lock.
            match waitid(WaitId::All, WaitIdOptions::EXITED | WaitIdOptions::NOWAIT) {
                Ok(_) => self.reap_ended(),
                Err(Errno::INTR) => {}
                // No child at all: until one is started there will be none.
                Err(_) => {
                    let table = self.table();
                    drop(self.started.wait_while(table, |table| table.started == started));
                }
            }
        }
    }

    fn reap_ended(&self) {
        let mut table = self.table();
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
            if let Some(known) = table.known.get_mut(&key(pid)) {
                *known = Some(status_of(status));
            }
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key(pid: Pid) -> i32 {
    pid.as_raw_nonzero().get()
}

fn status_of(status: WaitStatus) -> Status {
    let byte = |number: i32| u8::try_from(number).unwrap_or(u8::MAX);
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => Status::Code(byte(code)),
        (None, Some(signal)) => Status::Signal(byte(signal)),
        (None, None) => Status::Code(u8::MAX),
    }
}
