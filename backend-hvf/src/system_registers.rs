//! `TrappedRegisters`: what a guest finds in the system registers that the framework leaves to us.

use std::collections::BTreeSet;

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

/// One core's trapped registers. The first access to each that is not known is logged.
#[derive(Debug, Clone, Default)]
pub struct TrappedRegisters {
    is_os_locked: bool,
    debug: std::collections::BTreeMap<SystemRegister, u64>,
    logged: BTreeSet<SystemRegister>,
}

impl TrappedRegisters {
    /// The registers at power-on.
    pub fn new() -> Self {
        Self::default()
    }

    /// Back to power-on. What has been logged is not logged again.
    pub fn reset(&mut self) {
        todo!()
    }

    /// MRS of `register`.
    pub fn read(&mut self, register: SystemRegister) -> Read {
        let _ = register;
        todo!()
    }

    /// MSR of `value` to `register`.
    pub fn write(&mut self, register: SystemRegister, value: u64) -> Write {
        let _ = (register, value);
        todo!()
    }
}
