//! A core's registers as a whole, and what they are at power-on.

use hv_core::{
    arch::aarch64::{CpuState, PSTATE_AT_RESET, SystemRegister, affinity},
    hypervisor::{Error, Result},
};

use crate::{
    access::Registers,
    framework::{Core, IccRegister, Register},
    id_registers::{ID_REGISTERS, guest_value},
};

/// `MPIDR_EL1` has a bit that is always one (Arm ARM, D24.2.127).
const MPIDR_RES1: u64 = 1 << 31;

/// PSTATE.SP: the stack pointer of the exception level is in use.
const PSTATE_SP: u64 = 1;

/// The registers of the GIC's CPU interface that a guest writes.
const INTERFACE: [IccRegister; 8] = [
    IccRegister::PMR_EL1,
    IccRegister::BPR0_EL1,
    IccRegister::BPR1_EL1,
    IccRegister::AP0R0_EL1,
    IccRegister::AP1R0_EL1,
    IccRegister::CTLR_EL1,
    IccRegister::IGRPEN0_EL1,
    IccRegister::IGRPEN1_EL1,
];

/// The state of power-on, as the host made it.
#[derive(Debug)]
pub(crate) struct PowerOn {
    state: CpuState,
    interface: [u64; INTERFACE.len()],
}

impl PowerOn {
    /// Gives a new core its identity and remembers what it is like.
    pub(crate) fn of(core: &mut Core, index: u32, address_bits: u8) -> Result<Self> {
        core.set_system_register(SystemRegister::MPIDR_EL1, MPIDR_RES1 | affinity(index))?;
        identify(core, index, address_bits)?;
        core.set_register(Register::Cpsr, PSTATE_AT_RESET)?;
        Ok(Self { state: read(core)?, interface: interface(core)? })
    }

    /// Brings the core back to it.
    pub(crate) fn restore(&self, core: &mut Core) -> Result<()> {
        core.mask_virtual_timer(false)?;
        write(core, &self.state)?;
        set_interface(core, &self.interface)
    }
}

/// Applies the policy for ID registers. What the host does not let be set is told and left as it is.
fn identify(core: &mut Core, index: u32, address_bits: u8) -> Result<()> {
    for register in ID_REGISTERS {
        // Not every macOS knows each of them.
        let Ok(host) = core.system_register(*register) else { continue };
        let wanted = guest_value(*register, host, address_bits);
        if wanted == host {
            continue;
        }
        let set = core.set_system_register(*register, wanted);
        let found = core.system_register(*register)?;
        if found != wanted && index == 0 {
            let refusal = set.err().map_or_else(String::new, |error| format!(" ({error})"));
            tracing::warn!("ID register {register} stays {found:#x} and not {wanted:#x}{refusal}");
        }
    }
    Ok(())
}

/// All registers that make up a core's state.
pub(crate) fn read(core: &Core) -> Result<CpuState> {
    let mut x = [0; 31];
    for (number, value) in (0..).zip(&mut x) {
        *value = core.register(Register::X(number))?;
    }
    // A host without pointer authentication has no keys.
    let system = SystemRegister::STATE
        .iter()
        .filter_map(|register| Some((*register, core.system_register(*register).ok()?)))
        .collect();
    Ok(CpuState {
        x,
        pc: core.register(Register::Pc)?,
        pstate: core.register(Register::Cpsr)?,
        v: core.vectors()?,
        fpcr: core.register(Register::Fpcr)?,
        fpsr: core.register(Register::Fpsr)?,
        system,
    })
}

/// Replaces the registers; leaves system registers alone that are not in `state`.
pub(crate) fn write(core: &mut Core, state: &CpuState) -> Result<()> {
    for (number, value) in (0..).zip(state.x) {
        core.set_register(Register::X(number), value)?;
    }
    core.set_register(Register::Cpsr, state.pstate)?;
    core.set_register(Register::Pc, state.pc)?;
    core.set_vectors(&state.v)?;
    core.set_register(Register::Fpcr, state.fpcr)?;
    core.set_register(Register::Fpsr, state.fpsr)?;
    for (register, value) in &state.system {
        core.set_system_register(*register, *value)?;
    }
    Ok(())
}

/// The GIC's CPU interface.
pub(crate) fn interface(core: &Core) -> Result<[u64; INTERFACE.len()]> {
    let mut values = [0; INTERFACE.len()];
    for (register, value) in INTERFACE.into_iter().zip(&mut values) {
        *value = core.icc(register)?;
    }
    Ok(values)
}

/// Replaces the GIC's CPU interface.
pub(crate) fn set_interface(core: &mut Core, values: &[u64; INTERFACE.len()]) -> Result<()> {
    INTERFACE.into_iter().zip(values).try_for_each(|(register, value)| core.set_icc(register, *value))
}

impl Core {
    fn stack_pointer_name(&self) -> Result<SystemRegister> {
        let is_own = self.register(Register::Cpsr)? & PSTATE_SP != 0;
        Ok(if is_own { SystemRegister::SP_EL1 } else { SystemRegister::SP_EL0 })
    }
}

impl Registers for Core {
    type Error = Error;

    fn general(&self, number: u8) -> Result<u64> {
        self.register(Register::X(number))
    }

    fn set_general(&mut self, number: u8, value: u64) -> Result<()> {
        self.set_register(Register::X(number), value)
    }

    fn vector(&self, number: u8) -> Result<u128> {
        Core::vector(self, number)
    }

    fn set_vector(&mut self, number: u8, value: u128) -> Result<()> {
        Core::set_vector(self, number, value)
    }

    fn stack_pointer(&self) -> Result<u64> {
        self.system_register(self.stack_pointer_name()?)
    }

    fn set_stack_pointer(&mut self, value: u64) -> Result<()> {
        self.set_system_register(self.stack_pointer_name()?, value)
    }

    fn advance(&mut self) -> Result<()> {
        let pc = self.register(Register::Pc)?;
        self.set_register(Register::Pc, pc.wrapping_add(4))
    }
}
