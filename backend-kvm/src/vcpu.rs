//! `KvmVcpu`: one core on KVM.

mod access;

use std::{fmt, io, marker::PhantomData, sync::Arc};

use access::Access;
use hv_core::{
    arch::Arch,
    hypervisor::{Error, Exit, Result, Stop, Vcpu},
};
use kvm_bindings::{
    KVM_EXIT_ARM_NISV, KVM_EXIT_FAIL_ENTRY, KVM_EXIT_INTERNAL_ERROR, KVM_EXIT_IO, KVM_EXIT_MMIO,
    KVM_EXIT_SHUTDOWN, KVM_EXIT_SYSTEM_EVENT, KVM_INTERNAL_ERROR_EMULATION,
    KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES, KVM_SYSTEM_EVENT_RESET, KVM_SYSTEM_EVENT_SHUTDOWN,
};
use kvm_ioctls::VcpuFd;

use crate::{
    arch::{self, Core, Guest},
    kick::{Kickable, VcpuKick},
    memory::Slots,
};

/// `KVM_RUN` says `EAGAIN` when a waiting core's power state changed; more often in a row is a fault of the host.
const MOST_RETRIES: u32 = 1000;
/// An instruction that crosses a page, with its widest operand, takes fewer turns than this.
const MOST_COMPLETIONS: u32 = 32;

/// One core on KVM.
pub struct KvmVcpu {
    fd: VcpuFd,
    shared: Arc<Kickable>,
    core: Core,
    /// The access that the machine is looking at.
    shown: Option<Access>,
    /// What the machine has yet to see.
    waits: Option<Wait>,
    /// KVM has yet to be entered for the last access to be complete.
    incomplete: bool,
    /// The guest's memory outlives what runs it.
    _slots: Arc<Slots>,
    /// It stays on the thread that a kick signals.
    _on_thread: PhantomData<*const ()>,
}

#[derive(Debug)]
enum Wait {
    Access(Access),
    Stop(Stop),
}

enum Entry {
    Exited,
    Kicked,
}

impl KvmVcpu {
    pub(crate) fn new(fd: VcpuFd, run_size: usize, core: Core, slots: Arc<Slots>) -> Result<Self> {
        let shared = Kickable::new(&fd, run_size)?;
        Ok(Self {
            fd,
            shared,
            core,
            shown: None,
            waits: None,
            incomplete: false,
            _slots: slots,
            _on_thread: PhantomData,
        })
    }

    /// Takes the answer to the access that the machine has seen; its next element waits, if there is one.
    fn take_answer(&mut self) {
        if let Some(mut access) = self.shown.take() {
            if access.advance(&self.shared.page) {
                self.waits = Some(Wait::Access(access));
            } else {
                self.incomplete = true;
            }
        }
    }

    fn enter(&mut self) -> Result<Entry> {
        self.incomplete = false;
        let mut retries = 0;
        loop {
            match self.fd.run() {
                Ok(_) => return Ok(Entry::Exited),
                Err(error) if error.errno() == libc::EINTR => {
                    if self.shared.take() {
                        return Ok(Entry::Kicked);
                    }
                }
                Err(error) if error.errno() == libc::EAGAIN && retries < MOST_RETRIES => retries += 1,
                Err(error) => return Err(Error::new("KVM_RUN", error)),
            }
        }
    }

    /// Has KVM finish the instruction whose accesses were answered. It may have another access to make: that waits.
    fn complete(&mut self) -> Result<()> {
        self.take_answer();
        if !std::mem::take(&mut self.incomplete) {
            return Ok(());
        }
        match self.shared.without_entry(|| self.fd.run().map(drop)) {
            Ok(()) => self.waits = Some(self.reason()),
            Err(error) if error.errno() == libc::EINTR => {}
            Err(error) => return Err(Error::new("KVM_RUN", error)),
        }
        Ok(())
    }

    /// As [`complete`](Self::complete), with all bits set for what the machine did not answer.
    fn abandon(&mut self) -> Result<()> {
        for _ in 0..MOST_COMPLETIONS {
            self.complete()?;
            match self.waits.take() {
                None => return Ok(()),
                Some(Wait::Stop(_)) => {}
                Some(Wait::Access(mut access)) => {
                    access.abandon(&self.shared.page);
                    self.incomplete = true;
                }
            }
        }
        Err(Error::new("KVM_RUN", io::Error::other("the guest's instruction does not end")))
    }

    /// Why KVM came back.
    fn reason(&self) -> Wait {
        let page = &self.shared.page;
        let stop = match page.exit_reason() {
            KVM_EXIT_MMIO => return Wait::Access(Access::memory(page.memory_access())),
            KVM_EXIT_IO => return Wait::Access(Access::ports(page.port_access())),
            KVM_EXIT_SYSTEM_EVENT => match page.system_event() {
                KVM_SYSTEM_EVENT_SHUTDOWN => Stop::PowerOff,
                KVM_SYSTEM_EVENT_RESET => Stop::Reset,
                kind => Stop::Crash(format!("KVM system event {kind}")),
            },
            KVM_EXIT_SHUTDOWN => Stop::Crash(format!("triple fault{}", self.location())),
            KVM_EXIT_FAIL_ENTRY => {
                let reason = page.entry_failure();
                Stop::Crash(format!(
                    "the processor refuses to enter the guest (reason {reason:#x}){}",
                    self.location()
                ))
            }
            KVM_EXIT_ARM_NISV => Stop::Crash(format!(
                "a load or store at {:#x} of a form that KVM cannot take apart{}",
                page.undecoded_address(),
                self.location()
            )),
            KVM_EXIT_INTERNAL_ERROR => Stop::Crash(self.internal_error()),
            reason => Stop::Crash(format!("KVM exit {reason}, which hv does not know{}", self.location())),
        };
        Wait::Stop(stop)
    }

    fn internal_error(&self) -> String {
        let (kind, data) = self.shared.page.internal_error();
        let place = self.location();
        match data.as_slice() {
            // The size of the instruction and up to 15 bytes of it.
            [flags, bytes @ ..]
                if kind == KVM_INTERNAL_ERROR_EMULATION
                    && flags & u64::from(KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES) != 0 =>
            {
                let bytes: Vec<u8> = bytes.iter().flat_map(|word| word.to_le_bytes()).take(16).collect();
                let (size, code) =
                    bytes.split_first().map_or((0, [].as_slice()), |(size, code)| (*size, code));
                let code = code.split_at(code.len().min(size.into())).0;
                format!("KVM cannot emulate the instruction{place}, bytes {code:02x?}")
            }
            _ if kind == KVM_INTERNAL_ERROR_EMULATION => format!("KVM cannot emulate the instruction{place}"),
            data => format!("KVM internal error {kind}{place} (data {data:x?})"),
        }
    }

    fn location(&self) -> String {
        arch::location(&self.fd).map(|place| format!(" at {place}")).unwrap_or_default()
    }
}

impl Vcpu for KvmVcpu {
    type Arch = Guest;
    type Kick = VcpuKick;

    fn run(&mut self) -> Result<Exit<'_>> {
        self.take_answer();
        let wait = match self.waits.take() {
            None => match self.enter()? {
                Entry::Kicked => return Ok(Exit::Kicked),
                Entry::Exited => self.reason(),
            },
            waits if self.shared.take() => {
                self.waits = waits;
                return Ok(Exit::Kicked);
            }
            Some(wait) => wait,
        };
        Ok(match wait {
            Wait::Stop(stop) => Exit::Stop(stop),
            Wait::Access(access) => self.shown.insert(access).show(&self.shared.page),
        })
    }

    fn kick(&self) -> VcpuKick {
        self.shared.handle()
    }

    fn state(&mut self) -> Result<<Guest as Arch>::CpuState> {
        self.complete()?;
        arch::state(&self.fd)
    }

    fn set_state(&mut self, state: &<Guest as Arch>::CpuState) -> Result<()> {
        self.abandon()?;
        arch::set_state(&self.fd, state)
    }

    fn reset(&mut self) -> Result<()> {
        self.abandon()?;
        self.core.reset(&self.fd)
    }
}

impl Drop for KvmVcpu {
    fn drop(&mut self) {
        self.shared.retire();
    }
}

impl fmt::Debug for KvmVcpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KvmVcpu({:?})", self.core)
    }
}
