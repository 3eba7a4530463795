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

#[cfg(test)]
mod tests {
    use super::*;

    const ZERO_CONDITION: u64 = 1 << 30;
    const UAO: u64 = 1 << 23;
    const STEP: u64 = 1 << 21;
    const ILLEGAL: u64 = 1 << 20;
    const BRANCH_TYPE: u64 = 3 << 10;

    fn at(pstate: u64, control: u64) -> Interrupted {
        Interrupted { pc: 0xffff_8000_0000_1234, pstate, vector_base: 0xffff_8000_0001_0800, control }
    }

    #[test]
    fn the_vector_is_that_of_the_level_and_stack_it_came_from() {
        for (mode, offset) in [(0b00100, 0), (0b00101, 0x200), (0, 0x400), (0x10, 0x600), (0x1f, 0x600)] {
            let taken = Exception::Undefined.take(&at(mode, CONTROL_SPAN));
            assert_eq!(taken.pc, 0xffff_8000_0001_0800 + offset, "{mode:#x}");
            assert_eq!(taken.saved_pstate, mode);
            assert_eq!(taken.link, 0xffff_8000_0000_1234);
            assert_eq!(taken.pstate, 0x3c5);
        }
    }

    #[test]
    fn the_syndrome_tells_the_class_by_the_level_it_came_from() {
        let abort = Exception::ExternalDataAbort { address: 0x1000, is_write: true };
        let fetch = Exception::ExternalInstructionAbort { address: 0x2000 };
        for (exception, mode, syndrome, address) in [
            (Exception::Undefined, 0, 0x0200_0000, None),
            (Exception::Undefined, EL1H, 0x0200_0000, None),
            (abort, 0, 0x9200_0050, Some(0x1000)),
            (abort, EL1H, 0x9600_0050, Some(0x1000)),
            (abort, EL1T, 0x9600_0050, Some(0x1000)),
            (abort, 0x10, 0x9200_0050, Some(0x1000)),
            (Exception::ExternalDataAbort { address: 1, is_write: false }, EL1H, 0x9600_0010, Some(1)),
            (fetch, 0, 0x8200_0010, Some(0x2000)),
            (fetch, EL1H, 0x8600_0010, Some(0x2000)),
        ] {
            let taken = exception.take(&at(mode, CONTROL_SPAN));
            assert_eq!((taken.syndrome, taken.fault_address), (syndrome, address), "{exception:?} {mode:#x}");
        }
    }

    #[test]
    fn the_handler_starts_with_conditions_dit_and_pan_alone() {
        let all = ZERO_CONDITION | UAO | STEP | ILLEGAL | BRANCH_TYPE | SSBS | PAN | DIT | EL1H;
        let taken = Exception::Undefined.take(&at(all, CONTROL_SPAN));
        assert_eq!(taken.pstate, ZERO_CONDITION | PAN | DIT | MASKED | EL1H);
        assert_eq!(taken.saved_pstate, all);
    }

    #[test]
    fn pan_and_ssbs_are_as_sctlr_says() {
        assert_eq!(Exception::Undefined.take(&at(0, 0)).pstate, PAN | MASKED | EL1H);
        assert_eq!(Exception::Undefined.take(&at(0, CONTROL_SPAN)).pstate, MASKED | EL1H);
        let control = CONTROL_SPAN | CONTROL_DSSBS;
        assert_eq!(Exception::Undefined.take(&at(0, control)).pstate, SSBS | MASKED | EL1H);
    }

    #[test]
    fn reserved_bits_of_the_vector_base_are_not_an_address() {
        let from = Interrupted { vector_base: 0xfff, ..at(0, 0) };
        assert_eq!(Exception::Undefined.take(&from).pc, 0x800 + 0x400);
        let from = Interrupted { vector_base: u64::MAX, ..at(0x10, 0) };
        assert_eq!(Exception::Undefined.take(&from).pc, !0x7ff + 0x600);
    }
}
