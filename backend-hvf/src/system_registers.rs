//! `TrappedRegisters`: what a guest finds in the system registers that the framework leaves to us.

use std::collections::{BTreeMap, BTreeSet};

use hv_core::arch::aarch64::SystemRegister;

/// What MRS of a trapped register does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Read {
    /// Brings this value.
    Value(u64),
    /// Brings the physical counter, `CNTPCT_EL0`.
    PhysicalCount,
    /// Is UNDEFINED.
    Undefined,
}

/// What MSR of a trapped register, or a trapped system instruction, does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Write {
    /// It is done: the value is kept or ignored.
    Done,
    /// Is UNDEFINED.
    Undefined,
}

/// One core's trapped registers. The first access to each that nobody expected is logged.
#[derive(Debug, Clone)]
pub struct TrappedRegisters {
    /// `OSLSR_EL1.OSLK`.
    is_os_locked: bool,
    /// Breakpoint and watchpoint registers that were written.
    debug: BTreeMap<SystemRegister, u64>,
    logged: BTreeSet<SystemRegister>,
}

/// Registers that are told of in the log, at most.
const MOST_LOGGED: usize = 64;

const OSLAR_EL1: SystemRegister = SystemRegister::new(2, 0, 1, 0, 4);
const OSLSR_EL1: SystemRegister = SystemRegister::new(2, 0, 1, 1, 4);
const CNTPCT_EL0: SystemRegister = SystemRegister::new(3, 3, 14, 0, 1);
const CNTPCTSS_EL0: SystemRegister = SystemRegister::new(3, 3, 14, 0, 5);

/// `OSLSR_EL1.OSLM`: the OS lock is implemented.
const OS_LOCK_IMPLEMENTED: u64 = 1 << 3;
/// `OSLSR_EL1.OSLK`.
const OS_LOCKED: u64 = 1 << 1;
/// `OSLAR_EL1.OSLK`.
const LOCK: u64 = 1;

/// What a register is to a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    OsLockAccess,
    OsLockStatus,
    /// Reads as what was written last; does nothing.
    Stored,
    PhysicalCount,
    /// Reads as zero, ignores what is written.
    Zero,
    /// Reads as zero; writing is UNDEFINED.
    ReadOnlyZero,
    /// An instruction or register that is only written, which does nothing.
    WriteOnly,
    Undefined,
}

/// Whether a guest's access to a register comes as no surprise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    Yes,
    No,
}

impl TrappedRegisters {
    /// The registers at power-on.
    pub fn new() -> Self {
        Self { is_os_locked: true, debug: BTreeMap::new(), logged: BTreeSet::new() }
    }

    /// Back to power-on. What has been logged is not logged again.
    pub fn reset(&mut self) {
        self.is_os_locked = true;
        self.debug.clear();
    }

    /// MRS of `register`.
    pub fn read(&mut self, register: SystemRegister) -> Read {
        let (kind, known) = classify(register);
        let answer = match kind {
            Kind::OsLockStatus => {
                Read::Value(OS_LOCK_IMPLEMENTED | if self.is_os_locked { OS_LOCKED } else { 0 })
            }
            Kind::Stored => Read::Value(self.debug.get(&register).copied().unwrap_or(0)),
            Kind::PhysicalCount => Read::PhysicalCount,
            Kind::Zero | Kind::ReadOnlyZero => Read::Value(0),
            Kind::OsLockAccess | Kind::WriteOnly | Kind::Undefined => Read::Undefined,
        };
        if known == Known::No && self.is_first(register) {
            tracing::warn!("guest reads system register {register}: {answer:?}");
        }
        answer
    }

    /// MSR of `value` to `register`.
    pub fn write(&mut self, register: SystemRegister, value: u64) -> Write {
        let (kind, known) = classify(register);
        let answer = match kind {
            Kind::OsLockAccess => {
                self.is_os_locked = value & LOCK != 0;
                Write::Done
            }
            Kind::Stored => {
                self.debug.insert(register, value);
                Write::Done
            }
            Kind::Zero | Kind::WriteOnly => Write::Done,
            Kind::OsLockStatus | Kind::PhysicalCount | Kind::ReadOnlyZero | Kind::Undefined => {
                Write::Undefined
            }
        };
        if known == Known::No && self.is_first(register) {
            tracing::warn!("guest writes {value:#x} to system register {register}: {answer:?}");
        }
        answer
    }

    /// Nobody has been told of `register`, and there is room to remember that.
    fn is_first(&mut self, register: SystemRegister) -> bool {
        self.logged.len() < MOST_LOGGED && self.logged.insert(register)
    }
}

impl Default for TrappedRegisters {
    fn default() -> Self {
        Self::new()
    }
}

/// What `register` is, by the Arm ARM (D23.3 for its encoding; D24.3 for debug, D24.5 for the PMU).
fn classify(register: SystemRegister) -> (Kind, Known) {
    match (register.op0(), register.op1(), register.crn(), register.crm(), register.op2()) {
        _ if register == OSLAR_EL1 => (Kind::OsLockAccess, Known::Yes),
        _ if register == OSLSR_EL1 => (Kind::OsLockStatus, Known::Yes),
        _ if register == CNTPCT_EL0 || register == CNTPCTSS_EL0 => (Kind::PhysicalCount, Known::Yes),
        // DBGBVRn, DBGBCRn, DBGWVRn, DBGWCRn.
        (2, 0, 0, _, 4..=7) => (Kind::Stored, Known::Yes),
        // OSDTRRX, MDCCINT, OSDTRTX, OSECCR, OSDLR, DBGPRCR, DBGCLAIMSET, DBGCLAIMCLR.
        (2, 0, 0, 0, 2)
        | (2, 0, 0, 2, 0)
        | (2, 0, 0, 3, 2)
        | (2, 0, 0, 6, 2)
        | (2, 0, 1, 3, 4)
        | (2, 0, 1, 4, 4)
        | (2, 0, 7, 8 | 9, 6) => (Kind::Zero, Known::Yes),
        // MDRAR, DBGAUTHSTATUS, MDCCSR_EL0.
        (2, 0, 1, 0, 0) | (2, 0, 7, 14, 6) | (2, 3, 0, 1, 0) => (Kind::ReadOnlyZero, Known::Yes),
        // DBGDTR_EL0, DBGDTRRX_EL0 and DBGDTRTX_EL0.
        (2, 3, 0, 4 | 5, 0) => (Kind::Zero, Known::Yes),
        // PMSWINC_EL0 is written only; PMCEID0_EL0 and PMCEID1_EL0 are read only.
        (3, 3, 9, 12, 4) => (Kind::WriteOnly, Known::Yes),
        (3, 3, 9, 12, 6 | 7) => (Kind::ReadOnlyZero, Known::Yes),
        // PMINTENSET, PMINTENCLR; PMCR to PMCCNTR, PMXEVTYPER, PMXEVCNTR, PMUSERENR, PMOVSSET.
        (3, 0, 9, 14, 1 | 2) | (3, 3, 9, 12, 0..=3 | 5) | (3, 3, 9, 13, 0..=2) | (3, 3, 9, 14, 0 | 3) => {
            (Kind::Zero, Known::Yes)
        }
        // PMEVCNTRn, PMEVTYPERn, PMCCFILTR.
        (3, 3, 14, 8..=15, _) => (Kind::Zero, Known::Yes),
        // CNTP_TVAL, CNTP_CTL, CNTP_CVAL: the machine tells of the virtual timer only.
        (3, 3, 14, 2, 0..=2) => (Kind::Zero, Known::No),
        // ACTLR.
        (3, 0, 1, 0, 1) => (Kind::Zero, Known::Yes),
        // ERRIDR and, read only as well, ERXFR: no error records; ERRSELR, ERXCTLR to ERXMISC3, DISR.
        (3, 0, 5, 3 | 4, 0) => (Kind::ReadOnlyZero, Known::Yes),
        (3, 0, 5, 3..=5, _) | (3, 0, 12, 1, 1) => (Kind::Zero, Known::Yes),
        // REVIDR, AIDR.
        (3, 0, 0, 0, 6) | (3, 1, 0, 0, 7) => (Kind::ReadOnlyZero, Known::Yes),
        // The ID space: what is not allocated reads as zero.
        (3, 0, 0, 1..=7, _) => (Kind::ReadOnlyZero, Known::No),
        // DC ISW, CSW and CISW: set and way mean nothing to a guest.
        (1, 0, 7, 6 | 10 | 14, 2) => (Kind::WriteOnly, Known::Yes),
        // IMPLEMENTATION DEFINED (D23.3.1, D23.3.2).
        (1, _, 11 | 15, _, _) => (Kind::WriteOnly, Known::No),
        (3, _, 11 | 15, _, _) => (Kind::Zero, Known::No),
        _ => (Kind::Undefined, Known::No),
    }
}

#[cfg(test)]
mod tests;
