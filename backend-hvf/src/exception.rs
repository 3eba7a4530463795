//! Exceptions that the VMM has the guest take to EL1 (Arm ARM, `AArch64.TakeException`).

/// What a core was doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interrupted {
    /// PC: the instruction that has not completed.
    pub pc: u64,
    /// PSTATE in the form of `SPSR_EL1`.
    pub pstate: u64,
    /// `VBAR_EL1`.
    pub vector_base: u64,
    /// `SCTLR_EL1`.
    pub control: u64,
}

/// What a core holds once it has taken an exception. What is not here stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    /// PC: the vector.
    pub pc: u64,
    /// PSTATE in the form of `SPSR_EL1`.
    pub pstate: u64,
    /// `ELR_EL1`.
    pub link: u64,
    /// `SPSR_EL1`.
    pub saved_pstate: u64,
    /// `ESR_EL1`.
    pub syndrome: u64,
    /// `FAR_EL1`, if the exception has an address.
    pub fault_address: Option<u64>,
}

/// A synchronous exception.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exception {
    /// The instruction is UNDEFINED.
    Undefined,
    /// Synchronous external abort of a load or store.
    ExternalDataAbort {
        /// Virtual address.
        address: u64,
        /// A store.
        is_write: bool,
    },
    /// Synchronous external abort of an instruction fetch.
    ExternalInstructionAbort {
        /// Virtual address.
        address: u64,
    },
}

/// PSTATE's mode field: M\[4:0\].
const MODE: u64 = 0x1f;
/// Execution in AArch32.
const MODE_32: u64 = 0x10;
const EL1T: u64 = 0b00100;
const EL1H: u64 = 0b00101;
/// D, A, I and F.
const MASKED: u64 = 0xf << 6;
const SSBS: u64 = 1 << 12;
const PAN: u64 = 1 << 22;
const DIT: u64 = 1 << 24;
const CONDITIONS: u64 = 0xf << 28;
/// `SCTLR_EL1.SPAN`, which is RES1 without `FEAT_PAN`.
const CONTROL_SPAN: u64 = 1 << 23;
/// `SCTLR_EL1.DSSBS`, which is RES0 without `FEAT_SSBS`.
const CONTROL_DSSBS: u64 = 1 << 44;

/// A 32-bit instruction, in an ESR.
const LONG: u64 = 1 << 25;
/// Synchronous external abort, not on a table walk, in an ESR.
const EXTERNAL: u64 = 0x10;
const WRITE: u64 = 1 << 6;

impl Exception {
    /// The registers of a core at EL0 or EL1 that takes this exception.
    pub fn take(self, from: &Interrupted) -> Taken {
        let same_level = matches!(from.pstate & MODE, EL1T | EL1H);
        let class = |lower: u64| (lower + u64::from(same_level)) << 26 | LONG;
        let (syndrome, fault_address) = match self {
            Self::Undefined => (LONG, None),
            Self::ExternalDataAbort { address, is_write } => {
                (class(0x24) | EXTERNAL | if is_write { WRITE } else { 0 }, Some(address))
            }
            Self::ExternalInstructionAbort { address } => (class(0x20) | EXTERNAL, Some(address)),
        };
        let offset = match from.pstate & MODE {
            EL1T => 0,
            EL1H => 0x200,
            mode if mode & MODE_32 == 0 => 0x400,
            _ => 0x600,
        };
        Taken {
            pc: (from.vector_base & !0x7ff).wrapping_add(offset),
            pstate: entry_pstate(from),
            link: from.pc,
            saved_pstate: from.pstate,
            syndrome,
            fault_address,
        }
    }
}

/// PSTATE at the vector: EL1 on its own stack pointer, all masked, no step, no illegal state, no branch type, no UAO.
fn entry_pstate(from: &Interrupted) -> u64 {
    let kept = match from.pstate & MODE_32 {
        0 => CONDITIONS | DIT | PAN,
        // DIT is bit 21 in the form that AArch32 saves, and its bit 24 is J.
        _ => CONDITIONS | PAN,
    };
    let mut pstate = from.pstate & kept | MASKED | EL1H;
    if from.control & CONTROL_SPAN == 0 {
        pstate |= PAN;
    }
    if from.control & CONTROL_DSSBS != 0 {
        pstate |= SSBS;
    }
    pstate
}
