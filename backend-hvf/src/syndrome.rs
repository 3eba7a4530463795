//! `Syndrome`: why the guest trapped, out of `ESR_EL2` (Arm ARM, D24.2.37).

use hv_core::arch::aarch64::SystemRegister;

/// A decoded `ESR_EL2`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Syndrome {
    /// WFI, WFE, WFIT or WFET (EC 0x01).
    Wait(Wait),
    /// HVC from AArch64 (EC 0x16); PC is already past it.
    Hypercall {
        /// The instruction's immediate.
        immediate: u16,
    },
    /// SMC from AArch64 (EC 0x17); PC is on it.
    SecureMonitorCall {
        /// The instruction's immediate.
        immediate: u16,
    },
    /// MSR, MRS or a system instruction (EC 0x18); PC is on it.
    SystemRegister(SystemRegisterAccess),
    /// Instruction abort from a lower exception level (EC 0x20).
    InstructionAbort(InstructionAbort),
    /// Data abort from a lower exception level (EC 0x24).
    DataAbort(DataAbort),
    /// A breakpoint register matched (EC 0x30).
    Breakpoint,
    /// A software step ended (EC 0x32).
    SoftwareStep,
    /// A watchpoint register matched (EC 0x34).
    Watchpoint,
    /// BRK from AArch64 (EC 0x3c).
    Brk {
        /// The instruction's comment.
        immediate: u16,
    },
    /// Anything else.
    Other {
        /// EC, 6 bits.
        class: u8,
        /// ISS, 25 bits.
        specific: u32,
    },
}

/// The ISS of an exception from WFI and its relatives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wait {
    /// Which instruction.
    pub instruction: WaitInstruction,
    /// The register with the time-out of WFIT and WFET, if the syndrome names it; 31 is XZR.
    pub timeout_register: Option<u8>,
}

/// The instructions that wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitInstruction {
    /// For an interrupt.
    Wfi,
    /// For an event.
    Wfe,
    /// For an interrupt, with a time-out.
    Wfit,
    /// For an event, with a time-out.
    Wfet,
}

/// The ISS of an exception from MSR, MRS or a system instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SystemRegisterAccess {
    /// The register.
    pub register: SystemRegister,
    /// The general register; 31 is XZR.
    pub general: u8,
    /// MRS; else MSR.
    pub is_read: bool,
}

/// The ISS of an instruction abort.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InstructionAbort {
    /// IFSC.
    pub fault: Fault,
    /// `FAR_EL2` holds the address (not FnV).
    pub is_address_valid: bool,
    /// The fault is of a translation table walk (S1PTW).
    pub is_table_walk: bool,
}

/// The ISS of a data abort.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DataAbort {
    /// DFSC.
    pub fault: Fault,
    /// A store (WnR); of cache maintenance always set.
    pub is_write: bool,
    /// `FAR_EL2` holds the address (not FnV).
    pub is_address_valid: bool,
    /// Cache maintenance or an address translation instruction (CM).
    pub is_cache_maintenance: bool,
    /// The fault is of a translation table walk (S1PTW).
    pub is_table_walk: bool,
    /// What one register transfers, if the syndrome says so (ISV).
    pub transfer: Option<SyndromeTransfer>,
}

/// The fields of a data abort that ISV makes valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SyndromeTransfer {
    /// Bytes: 1, 2, 4 or 8 (SAS).
    pub size: u8,
    /// The load extends the sign (SSE).
    pub is_sign_extended: bool,
    /// The general register (SRT); 31 is XZR.
    pub register: u8,
    /// The register is X, else W (SF).
    pub is_64_bit: bool,
    /// Acquire or release (AR).
    pub is_ordered: bool,
}

/// A fault status code (Arm ARM, D24.2.37, DFSC and IFSC).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Address size fault at this level of the tables.
    AddressSize(u8),
    /// Translation fault at this level: nothing is mapped.
    Translation(u8),
    /// Access flag fault at this level.
    AccessFlag(u8),
    /// Permission fault at this level.
    Permission(u8),
    /// Synchronous external abort, not on a table walk.
    External,
    /// Alignment fault.
    Alignment,
    /// Another code.
    Other(u8),
}

impl Syndrome {
    /// Decodes `esr`; every value is one.
    pub fn decode(esr: u64) -> Self {
        let class = narrow(esr >> 26 & 0x3f);
        let specific = esr & 0x1ff_ffff;
        let [low, high, ..] = specific.to_le_bytes();
        let immediate = u16::from_le_bytes([low, high]);
        match class {
            0x01 => Self::Wait(Wait::decode(specific)),
            0x16 => Self::Hypercall { immediate },
            0x17 => Self::SecureMonitorCall { immediate },
            0x18 => Self::SystemRegister(SystemRegisterAccess::decode(specific)),
            0x20 => Self::InstructionAbort(InstructionAbort {
                fault: Fault::decode(specific),
                is_address_valid: !bit(specific, 10),
                is_table_walk: bit(specific, 7),
            }),
            0x24 => Self::DataAbort(DataAbort::decode(specific)),
            0x30 => Self::Breakpoint,
            0x32 => Self::SoftwareStep,
            0x34 => Self::Watchpoint,
            0x3c => Self::Brk { immediate },
            _ => Self::Other { class, specific: u32::try_from(specific).unwrap_or_default() },
        }
    }
}

impl Wait {
    fn decode(specific: u64) -> Self {
        let instruction = match specific & 3 {
            0 => WaitInstruction::Wfi,
            1 => WaitInstruction::Wfe,
            2 => WaitInstruction::Wfit,
            _ => WaitInstruction::Wfet,
        };
        let timed = matches!(instruction, WaitInstruction::Wfit | WaitInstruction::Wfet);
        let named = timed && bit(specific, 2);
        Self { instruction, timeout_register: named.then(|| narrow(specific >> 5 & 31)) }
    }
}

impl SystemRegisterAccess {
    fn decode(specific: u64) -> Self {
        let register = SystemRegister::new(
            narrow(specific >> 20 & 3),
            narrow(specific >> 14 & 7),
            narrow(specific >> 10 & 15),
            narrow(specific >> 1 & 15),
            narrow(specific >> 17 & 7),
        );
        Self { register, general: narrow(specific >> 5 & 31), is_read: bit(specific, 0) }
    }
}

impl DataAbort {
    fn decode(specific: u64) -> Self {
        let transfer = SyndromeTransfer {
            size: 1 << (specific >> 22 & 3),
            is_sign_extended: bit(specific, 21),
            register: narrow(specific >> 16 & 31),
            is_64_bit: bit(specific, 15),
            is_ordered: bit(specific, 14),
        };
        Self {
            fault: Fault::decode(specific),
            is_write: bit(specific, 6),
            is_address_valid: !bit(specific, 10),
            is_cache_maintenance: bit(specific, 8),
            is_table_walk: bit(specific, 7),
            transfer: bit(specific, 24).then_some(transfer),
        }
    }
}

impl Fault {
    fn decode(specific: u64) -> Self {
        let (code, level) = (narrow(specific & 0x3f), narrow(specific & 3));
        match code {
            0x00..=0x03 => Self::AddressSize(level),
            0x04..=0x07 => Self::Translation(level),
            0x08..=0x0b => Self::AccessFlag(level),
            0x0c..=0x0f => Self::Permission(level),
            0x10 => Self::External,
            0x21 => Self::Alignment,
            _ => Self::Other(code),
        }
    }
}

fn bit(value: u64, number: u32) -> bool {
    value >> number & 1 == 1
}

/// The low byte.
fn narrow(value: u64) -> u8 {
    value.to_le_bytes()[0]
}

#[cfg(test)]
mod tests;
