//! The end of the guest: processes, disks, the machine.

use std::{
    os::fd::{AsRawFd, OwnedFd},
    process::abort,
    sync::{Arc, mpsc::Receiver},
    thread::sleep,
    time::{Duration, Instant},
};

use hv_agent_protocol::AgentMessage;
use rustix::{
    fs::sync,
    io::Errno,
    mount::{MountFlags, mount_remount},
    process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid},
    system::{RebootCommand, reboot},
};

use crate::{control::Control, log::log};

/// How long processes have between SIGTERM and SIGKILL, if the host does not say.
const GRACE: Duration = Duration::from_secs(10);

/// How long SIGKILL may take.
const KILL_TIME: Duration = Duration::from_secs(2);

/// How soon is looked again whether processes are left.
const RETRY: Duration = Duration::from_millis(2);

/// An end that somebody asks for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Order {
    /// Reset the machine; else power it off.
    pub(crate) reboot: bool,
    /// How long processes have between SIGTERM and SIGKILL.
    pub(crate) grace: Duration,
}

impl Order {
    pub(crate) const POWER_OFF: Self = Self { reboot: false, grace: GRACE };
    pub(crate) const REBOOT: Self = Self { reboot: true, grace: GRACE };
    /// The guest has lost what it lives for.
    pub(crate) const FAILED: Self = Self { reboot: false, grace: Duration::from_secs(1) };
}

/// A guest that is up.
#[derive(Debug)]
pub(crate) struct Running {
    control: Arc<Control>,
    orders: Receiver<Order>,
    /// The disk that takes the changes of the root.
    writable: Option<OwnedFd>,
}

impl Running {
    pub(crate) fn new(control: Arc<Control>, orders: Receiver<Order>, writable: Option<OwnedFd>) -> Self {
        Self { control, orders, writable }
    }

    /// Waits until somebody wants an end.
    pub(crate) fn wait(&self) -> Order {
        self.orders.recv().unwrap_or(Order::FAILED)
    }

    /// Ends everything in order. Another order without grace takes the processes' time away.
    pub(crate) fn shut_down(self, order: Order) -> ! {
        let message = if order.reboot { AgentMessage::Rebooting } else { AgentMessage::PoweringOff };
        // A host that is gone need not know.
        let _ = self.control.say(&message);
        self.end_processes(order.grace);
        sync();
        // What is still written to now cannot be made read-only, but everything is on the disk.
        let _ = mount_remount("/", MountFlags::RDONLY, c"");
        if let Some(disk) = &self.writable {
            let _ = mount_remount(format!("/proc/self/fd/{}", disk.as_raw_fd()), MountFlags::RDONLY, c"");
        }
        stop_machine(order.reboot)
    }

    fn end_processes(&self, grace: Duration) {
        // Signals to all processes spare the first one, which this is.
        let everybody = Pid::INIT;
        let _ = kill_process_group(everybody, Signal::TERM);
        let _ = kill_process_group(everybody, Signal::CONT);
        if self.are_gone_within(grace) {
            return;
        }
        let _ = kill_process_group(everybody, Signal::KILL);
        if !self.are_gone_within(KILL_TIME) {
            log("some processes do not end; the guest ends without them");
        }
    }

    fn are_gone_within(&self, time: Duration) -> bool {
        let until = Instant::now() + time;
        loop {
            // Every process is a child of this one, or of one that is. (Signals to all would find kernel threads too.)
            let look = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
            if matches!(waitid(WaitId::All, look), Err(Errno::CHILD)) {
                return true;
            }
            let hurried = self.orders.try_recv().is_ok_and(|order| order.grace.is_zero());
            if hurried || Instant::now() >= until {
                return false;
            }
            sleep(RETRY);
        }
    }
}

/// Powers the machine off or resets it, with all that was written on the disks.
pub(crate) fn stop_machine(restart: bool) -> ! {
    sync();
    let command = if restart { RebootCommand::Restart } else { RebootCommand::PowerOff };
    let error = reboot(command);
    log(&format!("the machine does not stop: {error:?}"));
    // It is a kernel panic, which the host sees.
    abort()
}
