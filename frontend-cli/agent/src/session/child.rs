//! What a command's process does between fork and exec.
#![expect(unsafe_code, reason = "only `pre_exec` runs code there")]

use std::{os::unix::process::CommandExt, process::Command};

use rustix::{
    process::{Gid, Uid, geteuid, ioctl_tiocsctty, setsid},
    stdio::stdin,
    thread::{set_thread_gid, set_thread_groups, set_thread_uid},
};

use crate::users::Identity;

/// Makes the command lead a session, with its standard input as controlling terminal if `terminal`, and run as `identity`.
pub(super) fn prepare(command: &mut Command, identity: &Identity, terminal: bool) {
    let groups: Vec<_> = identity.groups.iter().copied().map(Gid::from_raw).collect();
    let (uid, gid) = (Uid::from_raw(identity.uid), Gid::from_raw(identity.gid));
    let prepare = move || {
        setsid()?;
        if terminal {
            ioctl_tiocsctty(stdin())?;
        }
        // Outside a guest, tests may run as somebody who can be nobody else.
        if geteuid().is_root() {
            set_thread_groups(&groups)?;
            set_thread_gid(gid)?;
            set_thread_uid(uid)?;
        }
        Ok(())
    };
    // SAFETY: the closure makes system calls on what was prepared before the fork; it neither allocates nor locks.
    unsafe { command.pre_exec(prepare) };
}
