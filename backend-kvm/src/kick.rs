//! `VcpuKick`: brings a core back from `KVM_RUN`, from any thread, and is never lost.
#![expect(unsafe_code, reason = "signals one thread; maps the vCPU a second time")]

use std::{
    fmt, io,
    os::fd::{AsRawFd, BorrowedFd},
    sync::{
        Arc, Mutex, OnceLock, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
};

use hv_core::hypervisor::{Error, Kick, Result};
use kvm_ioctls::VcpuFd;
use vmm_sys_util::{
    errno,
    signal::{register_signal_handler, unblock_signal},
};

use crate::run_page::RunPage;

/// Brings a core back from `KVM_RUN`. Does nothing when the core is gone.
#[derive(Clone)]
pub struct VcpuKick(Weak<Kickable>);

/// What a core shares with those who kick it.
///
/// A kick sets `kicked`, then `immediate_exit`, then sends a signal. A core that runs the guest is brought back by the
/// signal; one that is about to is stopped by `immediate_exit`, which KVM reads with signals held back (KVM API,
/// 5: `immediate_exit`). `kicked` tells a kick from any other signal, and many kicks from one.
pub(crate) struct Kickable {
    pub(crate) page: RunPage,
    kicked: AtomicBool,
    /// The core's thread, until the core is dropped there.
    thread: Mutex<Option<libc::pid_t>>,
}

impl Kickable {
    /// For a core that runs on the calling thread.
    pub(crate) fn new(vcpu: &VcpuFd, run_size: usize) -> Result<Arc<Self>> {
        install_handler()?;
        // SAFETY: `vcpu` is open during this borrow.
        let file = unsafe { BorrowedFd::borrow_raw(vcpu.as_raw_fd()) }.try_clone_to_owned();
        let file = file.map_err(|error| Error::new("dup of a vCPU", error))?;
        // SAFETY: no arguments, cannot fail.
        let thread = unsafe { libc::gettid() };
        Ok(Arc::new(Self {
            page: RunPage::map(file.into(), run_size)?,
            kicked: AtomicBool::new(false),
            thread: Mutex::new(Some(thread)),
        }))
    }

    /// A handle to kick with.
    pub(crate) fn handle(self: &Arc<Self>) -> VcpuKick {
        VcpuKick(Arc::downgrade(self))
    }

    /// Whether somebody kicked since this was last asked; the next `KVM_RUN` enters the guest.
    pub(crate) fn take(&self) -> bool {
        self.page.set_immediate_exit(false);
        // A kick between the two is reported now; its `immediate_exit` then costs one silent turn.
        self.kicked.swap(false, Ordering::SeqCst)
    }

    /// Runs `turn` so that `KVM_RUN` completes what is pending and does not enter the guest; kicks stay pending.
    pub(crate) fn without_entry<T>(&self, turn: impl FnOnce() -> T) -> T {
        self.page.set_immediate_exit(true);
        let result = turn();
        self.page.set_immediate_exit(false);
        if self.kicked.load(Ordering::SeqCst) {
            self.page.set_immediate_exit(true);
        }
        result
    }

    /// The core is being dropped on its thread: no signal goes there any more.
    pub(crate) fn retire(&self) {
        *self.thread.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn kick(&self) {
        self.kicked.store(true, Ordering::SeqCst);
        self.page.set_immediate_exit(true);
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(thread) = *thread {
            // SAFETY: plain numbers; the lock keeps the thread from ending, so the number is its own.
            unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), thread, signal()) };
        }
    }
}

impl Kick for VcpuKick {
    fn kick(&self) {
        if let Some(target) = self.0.upgrade() {
            target.kick();
        }
    }
}

impl fmt::Debug for VcpuKick {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VcpuKick")
    }
}

/// The signal that interrupts `KVM_RUN`.
fn signal() -> libc::c_int {
    libc::SIGRTMIN()
}

/// Once for the process, and unblocks the signal on this thread: it must end the system call, and do nothing else.
fn install_handler() -> Result<()> {
    extern "C" fn nothing(_: libc::c_int, _: *mut libc::siginfo_t, _: *mut libc::c_void) {}
    static HANDLER: OnceLock<errno::Result<()>> = OnceLock::new();
    let installed = *HANDLER.get_or_init(|| register_signal_handler(signal(), nothing));
    installed.map_err(|error| Error::new("sigaction", error))?;
    unblock_signal(signal())
        .map_err(|error| Error::new("pthread_sigmask", io::Error::other(format!("{error:?}"))))
}
