//! Data aborts: loads and stores where the guest has no RAM.

use hv_core::{arch::aarch64::SystemRegister, hypervisor::Result};

use super::{HvfVcpu, Next};
use crate::{
    access::{Access, Registers, Unable},
    exception::Exception,
    framework::Register,
    instruction::{self, Decoded, Refusal},
    syndrome::{DataAbort, Fault},
    translation::Translation,
};

/// What to do about an abort.
enum Answer {
    Access(Access),
    /// The instruction does nothing to a device.
    Skip,
    /// The guest hears of it.
    Refuse(&'static str),
}

impl HvfVcpu {
    pub(super) fn data_abort(
        &mut self,
        abort: &DataAbort,
        virtual_address: u64,
        address: u64,
    ) -> Result<Next> {
        if self.is_passing(abort.fault, address) {
            return Ok(Next::Run);
        }
        match self.answer(abort, address)? {
            Answer::Access(access) => {
                self.access = Some(access);
                return Ok(Next::Show);
            }
            Answer::Skip => self.core.advance()?,
            Answer::Refuse(why) => {
                tracing::debug!("vCPU {}: {why}: {abort:x?} at {address:#x}", self.index);
                let exception =
                    Exception::ExternalDataAbort { address: virtual_address, is_write: abort.is_write };
                self.take_exception(exception)?;
            }
        }
        Ok(Next::Run)
    }

    /// Whether the abort comes from a page that was being given back to the host: it is there again, and the guest does
    /// the same once more.
    pub(super) fn is_passing(&self, fault: Fault, address: u64) -> bool {
        matches!(fault, Fault::Translation(_)) && self.shared.mappings.holds(address)
    }

    fn answer(&self, abort: &DataAbort, address: u64) -> Result<Answer> {
        if abort.is_table_walk {
            return Ok(Answer::Refuse("translation tables outside of RAM"));
        }
        if matches!(abort.fault, Fault::External | Fault::Alignment | Fault::Other(_)) {
            return Ok(Answer::Refuse("a fault that no device can answer"));
        }
        if abort.is_cache_maintenance {
            return Ok(Answer::Skip);
        }
        if let Some(transfer) = &abort.transfer {
            return Access::of_syndrome(transfer, abort.is_write, address, &self.core).map(Answer::Access);
        }
        let Some(word) = self.instruction()? else {
            return Ok(Answer::Refuse("an instruction that cannot be read"));
        };
        match instruction::decode(word) {
            Ok(Decoded::CacheMaintenance) => Ok(Answer::Skip),
            Ok(Decoded::Access(instruction)) => {
                match Access::of_instruction(&instruction, address, &self.core) {
                    Ok(access) => Ok(Answer::Access(access)),
                    Err(Unable::Refused(refusal)) => Ok(refuse(word, refusal)),
                    Err(Unable::Host(error)) => Err(error),
                }
            }
            Err(refusal) => Ok(refuse(word, refusal)),
        }
    }

    /// The instruction at PC, if it can be found in RAM.
    fn instruction(&self) -> Result<Option<u32>> {
        let translation = Translation {
            control: self.core.system_register(SystemRegister::SCTLR_EL1)?,
            translation_control: self.core.system_register(SystemRegister::TCR_EL1)?,
            lower_tables: self.core.system_register(SystemRegister::TTBR0_EL1)?,
            upper_tables: self.core.system_register(SystemRegister::TTBR1_EL1)?,
        };
        let pc = self.core.register(Register::Pc)?;
        let memory = &self.shared.mappings;
        let address = translation.translate(pc, |address| memory.read(address).map(u64::from_le_bytes));
        Ok(address.and_then(|address| memory.read(address)).map(u32::from_le_bytes))
    }
}

fn refuse(word: u32, refusal: Refusal) -> Answer {
    tracing::debug!("instruction {word:#010x}: {refusal}");
    Answer::Refuse("an instruction that is not carried out on a device")
}
