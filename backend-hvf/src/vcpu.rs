//! `HvfVcpu`: one core on Hypervisor.framework.

mod abort;
mod counts;
mod wait;

use std::{fmt, io, sync::Arc};

use hv_core::{
    arch::{
        Aarch64,
        aarch64::{CpuState, SystemRegister, psci::Start, smccc::Call},
    },
    hypervisor::{Error, Exit, Result, Stop, Vcpu},
};

use self::{counts::Counts, wait::TimerExit};
use crate::{
    VcpuKick,
    access::{Access, Registers, Step},
    exception::{Exception, Interrupted},
    framework::{self, Core, Reason, Register},
    power::{Outcome, Turn},
    state::{self, PowerOn},
    syndrome::{Syndrome, SystemRegisterAccess, WaitInstruction},
    system_registers::{Read, TrappedRegisters, Write},
    vm::Shared,
};

/// One core on Hypervisor.framework.
pub struct HvfVcpu {
    // First: it goes before the VM that it shares.
    core: Core,
    index: u32,
    power_on: PowerOn,
    trapped: TrappedRegisters,
    /// The load or store under way; PC is still on it.
    access: Option<Access>,
    /// The machine is looking at the access's step, and its answer will be here.
    shown: bool,
    data: [u8; 8],
    timer: TimerExit,
    counts: Counts,
    shared: Arc<Shared>,
}

/// What an exit leaves to do.
enum Next {
    /// On with the guest, as far as its power state allows.
    Run,
    /// The machine sees the access's next step.
    Show,
    /// The guest has ended.
    Stop(Stop),
}

impl HvfVcpu {
    pub(crate) fn new(index: u32, shared: Arc<Shared>) -> Result<Self> {
        let mut core = Core::create()?;
        let power_on = PowerOn::of(&mut core, index, shared.address_bits)?;
        shared.check_redistributor(&core, index)?;
        shared.cores.set_name(index, Some(core.id()));
        Ok(Self {
            core,
            index,
            power_on,
            trapped: TrappedRegisters::new(),
            access: None,
            shown: false,
            data: [0; 8],
            timer: TimerExit::default(),
            counts: Counts::default(),
            shared,
        })
    }

    /// The core's part of the interrupt controller, its CPU interface, in the order in which
    /// [`set_interrupt_state`](Self::set_interrupt_state) takes it.
    ///
    /// # Errors
    /// The host does not tell.
    pub fn interrupt_state(&self) -> Result<Vec<u64>> {
        state::interface(&self.core).map(Vec::from)
    }

    /// Replaces the core's part of the interrupt controller.
    ///
    /// # Errors
    /// The host refuses a value, or it is not a state of [`interrupt_state`](Self::interrupt_state).
    pub fn set_interrupt_state(&mut self, values: &[u64]) -> Result<()> {
        let values = values.try_into().map_err(|_| {
            Error::new(
                "hv_gic_set_icc_reg",
                io::Error::new(io::ErrorKind::InvalidInput, "not as many registers"),
            )
        })?;
        state::set_interface(&mut self.core, values)
    }

    /// Takes the machine's answer to the step that it saw.
    fn take_answer(&mut self) -> Result<()> {
        if !std::mem::take(&mut self.shown) {
            return Ok(());
        }
        if let Some(access) = &mut self.access {
            access.answer(u64::from_le_bytes(self.data));
        }
        self.complete()
    }

    /// Ends the access under way, if all of its steps are done.
    fn complete(&mut self) -> Result<()> {
        match self.access.take_if(|access| access.step().is_none()) {
            Some(access) => access.complete(&mut self.core),
            None => Ok(()),
        }
    }

    /// Forgets the access under way.
    fn abandon(&mut self) {
        self.access = None;
        self.shown = false;
    }

    /// The access's next step as the machine sees it.
    fn show(&mut self, step: Step) -> Exit<'_> {
        self.shown = true;
        let size = usize::from(step.size).min(self.data.len());
        // The bytes that the machine does not fill are zeros.
        self.data = step.store.unwrap_or_default().to_le_bytes();
        let data = &mut self.data[..size];
        match step.store {
            Some(_) => Exit::MmioWrite { address: step.address, data },
            None => Exit::MmioRead { address: step.address, data },
        }
    }

    /// As after power-on, but at the place that PSCI says.
    fn start(&mut self, start: Start) -> Result<()> {
        self.restore()?;
        self.core.set_register(Register::Pc, start.entry)?;
        self.core.set_register(Register::X(0), start.context)
    }

    fn restore(&mut self) -> Result<()> {
        self.abandon();
        self.trapped.reset();
        self.timer = TimerExit::default();
        self.power_on.restore(&mut self.core)
    }

    /// One stay in the guest.
    fn enter(&mut self) -> Result<Next> {
        self.timer.before_entry(&mut self.core)?;
        let reason = self.core.run()?;
        self.counts.count(&reason);
        match reason {
            Reason::Canceled => Ok(Next::Run),
            Reason::VirtualTimer => {
                self.timer.fired(&mut self.core)?;
                Ok(Next::Run)
            }
            Reason::Exception { syndrome, virtual_address, physical_address } => {
                self.exception(Syndrome::decode(syndrome), virtual_address, physical_address)
            }
            Reason::Unknown(reason) => {
                let unknown = format!("exit for reason {reason}, which hv does not know");
                Err(Error::new("hv_vcpu_run", io::Error::other(unknown)))
            }
        }
    }

    fn exception(&mut self, syndrome: Syndrome, virtual_address: u64, address: u64) -> Result<Next> {
        match syndrome {
            Syndrome::DataAbort(abort) => return self.data_abort(&abort, virtual_address, address),
            Syndrome::Hypercall { .. } => return self.hypercall(),
            Syndrome::SystemRegister(access) => self.system_register(access)?,
            Syndrome::Wait(wait) => {
                self.core.advance()?;
                // An event may come from anywhere, so that a wait for one ends at once.
                if matches!(wait.instruction, WaitInstruction::Wfi) {
                    self.wait_for_interrupt()?;
                }
            }
            Syndrome::InstructionAbort(abort) if self.is_passing(abort.fault, address) => {}
            Syndrome::InstructionAbort(_) => {
                self.take_exception(Exception::ExternalInstructionAbort { address: virtual_address })?;
            }
            // There is no EL3, and nothing else is trapped but what the machine does not offer.
            other => {
                tracing::debug!("vCPU {}: {other:x?}", self.index);
                self.take_exception(Exception::Undefined)?;
            }
        }
        Ok(Next::Run)
    }

    fn hypercall(&mut self) -> Result<Next> {
        let mut x = [0; 4];
        for (number, value) in (0..).zip(&mut x) {
            *value = self.core.register(Register::X(number))?;
        }
        let cores = Arc::clone(&self.shared.cores);
        match cores.power.call(self.index, Call::new(x)) {
            Outcome::Return(value) => self.core.set_register(Register::X(0), value)?,
            Outcome::Suspend(value) => {
                self.core.set_register(Register::X(0), value)?;
                self.wait_for_interrupt()?;
            }
            Outcome::Off => {}
            Outcome::Stop(stop) => {
                cores.bring_back_others(self.index);
                return Ok(Next::Stop(stop));
            }
        }
        Ok(Next::Run)
    }

    fn system_register(&mut self, access: SystemRegisterAccess) -> Result<()> {
        let SystemRegisterAccess { register, general, is_read } = access;
        let is_defined = if is_read {
            let value = match self.trapped.read(register) {
                Read::Value(value) => Some(value),
                Read::PhysicalCount => Some(framework::counter()),
                Read::Undefined => None,
            };
            if let Some(value) = value {
                self.core.set_register(Register::X(general), value)?;
            }
            value.is_some()
        } else {
            let value = self.core.register(Register::X(general))?;
            self.trapped.write(register, value) == Write::Done
        };
        if is_defined { self.core.advance() } else { self.take_exception(Exception::Undefined) }
    }

    /// Has the guest take an exception on the instruction at PC.
    fn take_exception(&mut self, exception: Exception) -> Result<()> {
        let core = &mut self.core;
        let taken = exception.take(&Interrupted {
            pc: core.register(Register::Pc)?,
            pstate: core.register(Register::Cpsr)?,
            vector_base: core.system_register(SystemRegister::VBAR_EL1)?,
            control: core.system_register(SystemRegister::SCTLR_EL1)?,
        });
        core.set_system_register(SystemRegister::ELR_EL1, taken.link)?;
        core.set_system_register(SystemRegister::SPSR_EL1, taken.saved_pstate)?;
        core.set_system_register(SystemRegister::ESR_EL1, taken.syndrome)?;
        if let Some(address) = taken.fault_address {
            core.set_system_register(SystemRegister::FAR_EL1, address)?;
        }
        core.set_register(Register::Cpsr, taken.pstate)?;
        core.set_register(Register::Pc, taken.pc)
    }
}

impl Vcpu for HvfVcpu {
    type Arch = Aarch64;
    type Kick = VcpuKick;

    fn run(&mut self) -> Result<Exit<'_>> {
        self.take_answer()?;
        loop {
            match self.shared.cores.power.turn(self.index) {
                Turn::Kicked => return Ok(Exit::Kicked),
                Turn::Start(start) => self.start(start)?,
                Turn::Run => {}
            }
            let next = if self.access.is_some() { Next::Show } else { self.enter()? };
            match (next, self.access.as_ref().and_then(Access::step)) {
                (Next::Stop(stop), _) => return Ok(Exit::Stop(stop)),
                (Next::Show, Some(step)) => return Ok(self.show(step)),
                (Next::Show, None) => self.complete()?,
                (Next::Run, _) => {}
            }
        }
    }

    fn kick(&self) -> VcpuKick {
        VcpuKick::new(Arc::clone(&self.shared.cores), self.index)
    }

    fn state(&mut self) -> Result<CpuState> {
        self.take_answer()?;
        state::read(&self.core)
    }

    fn set_state(&mut self, state: &CpuState) -> Result<()> {
        self.abandon();
        state::write(&mut self.core, state)
    }

    fn reset(&mut self) -> Result<()> {
        self.restore()
    }
}

impl Drop for HvfVcpu {
    fn drop(&mut self) {
        self.shared.cores.set_name(self.index, None);
        tracing::debug!("vCPU {}: {}", self.index, self.counts);
    }
}

impl fmt::Debug for HvfVcpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HvfVcpu({})", self.index)
    }
}
