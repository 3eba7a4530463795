//! The ID registers: what a guest is told of the host's processor.

use hv_core::arch::aarch64::SystemRegister;

/// The registers that the policy knows, in the order in which they are set.
pub const ID_REGISTERS: &[SystemRegister] = &[
    SystemRegister::ID_AA64PFR0_EL1,
    SystemRegister::ID_AA64PFR1_EL1,
    SystemRegister::ID_AA64DFR0_EL1,
    SystemRegister::ID_AA64DFR1_EL1,
    SystemRegister::ID_AA64ISAR0_EL1,
    SystemRegister::ID_AA64ISAR1_EL1,
    SystemRegister::ID_AA64ISAR2_EL1,
    SystemRegister::ID_AA64MMFR0_EL1,
    SystemRegister::ID_AA64MMFR1_EL1,
    SystemRegister::ID_AA64MMFR2_EL1,
    SystemRegister::ID_AA64ZFR0_EL1,
    SystemRegister::ID_AA64SMFR0_EL1,
];

/// What the guest finds in `register`, which holds `host` on the host, on a machine of `address_bits`.
pub fn guest_value(register: SystemRegister, host: u64, address_bits: u8) -> u64 {
    let _ = (register, address_bits);
    host
}

/// A register that did not take what it was set to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{register} was set to {asked:#x} and reads {found:#x}")]
pub struct Kept {
    /// The register.
    pub register: SystemRegister,
    /// What it was set to.
    pub asked: u64,
    /// What it reads.
    pub found: u64,
}

/// Compares what `register` was set to with what it reads then.
///
/// # Errors
/// They differ.
pub fn check(register: SystemRegister, asked: u64, found: u64) -> Result<(), Kept> {
    if asked == found { Ok(()) } else { Err(Kept { register, asked, found }) }
}
