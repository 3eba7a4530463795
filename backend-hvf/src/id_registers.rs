//! The ID registers: what a guest is told of the host's processor.

use hv_core::arch::aarch64::SystemRegister;

/// The registers that the policy knows.
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

/// A field of an ID register that guests do not find, by its lowest bit; each is 4 bits wide. What it stands for is not in
/// the machine, or has registers that the framework does not keep for a guest.
const HIDDEN: &[(SystemRegister, &[u32])] = &[
    // EL2, EL3, SVE, SEL2, MPAM, AMU, RME.
    (SystemRegister::ID_AA64PFR0_EL1, &[8, 12, 32, 36, 40, 44, 52]),
    // MTE, MPAM_frac, SME, RNDR_trap, NMI, MTE_frac, GCS, THE, MTEX, DF2, PFAR.
    (SystemRegister::ID_AA64PFR1_EL1, &[8, 16, 24, 28, 36, 40, 44, 48, 52, 56, 60]),
    // TraceVer, PMUVer, PMSS, SEBEP, PMSVer, TraceFilt, TraceBuffer, MTPMU, BRBE, ExtTrcBuff, HPMN0.
    (SystemRegister::ID_AA64DFR0_EL1, &[4, 8, 16, 24, 32, 40, 44, 48, 52, 56, 60]),
    (SystemRegister::ID_AA64DFR1_EL1, &[0, 4, 8, 12, 16, 20, 24, 28, 32, 36, 40, 44, 48, 52, 56, 60]),
    // LS64.
    (SystemRegister::ID_AA64ISAR1_EL1, &[60]),
    // FGT.
    (SystemRegister::ID_AA64MMFR0_EL1, &[56]),
    // VMIDBits, VH, LO, TWED, HCX.
    (SystemRegister::ID_AA64MMFR1_EL1, &[4, 8, 16, 32, 40]),
    // NV, EVT.
    (SystemRegister::ID_AA64MMFR2_EL1, &[24, 56]),
    (SystemRegister::ID_AA64ZFR0_EL1, &[0, 4, 8, 12, 16, 20, 24, 28, 32, 36, 40, 44, 48, 52, 56, 60]),
    (SystemRegister::ID_AA64SMFR0_EL1, &[0, 4, 8, 12, 16, 20, 24, 28, 32, 36, 40, 44, 48, 52, 56, 60]),
];

/// `ID_AA64PFR0_EL1.GIC`: system registers of `GICv3`. The framework leaves it 0 though it has them.
const GIC: u32 = 24;
/// `ID_AA64MMFR0_EL1.PARange`.
const PARANGE: u32 = 0;

/// What the guest finds in `register`, which holds `host` on the host, on a machine of `address_bits`. What a host can do
/// (granules, atomics, cryptography, pointer authentication) is told as it is.
pub fn guest_value(register: SystemRegister, host: u64, address_bits: u8) -> u64 {
    let hidden = HIDDEN.iter().filter(|(of, _)| *of == register).flat_map(|(_, fields)| *fields);
    let value = hidden.fold(host, |value, field| with_field(value, *field, 0));
    match register {
        SystemRegister::ID_AA64PFR0_EL1 => with_field(value, GIC, 1),
        SystemRegister::ID_AA64MMFR0_EL1 => with_field(value, PARANGE, parange(address_bits)),
        _ => value,
    }
}

/// PARange: the widest that `address_bits` hold (Arm ARM, D24.2, `ID_AA64MMFR0_EL1`).
fn parange(address_bits: u8) -> u64 {
    match address_bits {
        0..36 => 0,
        36..40 => 1,
        40..42 => 2,
        42..44 => 3,
        44..48 => 4,
        48..52 => 5,
        52.. => 6,
    }
}

fn with_field(value: u64, lowest: u32, field: u64) -> u64 {
    value & !(0xf << lowest) | field << lowest
}

/// A register that did not take what it was set to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{register} was set to {asked:#x} and reads {found:#x}: the guest sees what it has not")]
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

#[cfg(test)]
mod tests {
    use super::*;

    /// `ID_AA64PFR0_EL1` of a processor with everything, in each field another value.
    const HOST: u64 = 0xfedc_ba98_7654_3211;

    #[test]
    fn a_guest_finds_a_gic_and_neither_el2_nor_el3_nor_sve() {
        let value = guest_value(SystemRegister::ID_AA64PFR0_EL1, HOST, 36);
        assert_eq!(value, 0xfe0c_0000_7154_0011);
    }

    #[test]
    fn a_guest_finds_neither_mte_nor_sme_nor_a_pmu_nor_nested_virtualization() {
        let field = |register, lowest: u32| guest_value(register, u64::MAX, 40) >> lowest & 0xf;
        assert_eq!(field(SystemRegister::ID_AA64PFR1_EL1, 8), 0);
        assert_eq!(field(SystemRegister::ID_AA64PFR1_EL1, 24), 0);
        assert_eq!(field(SystemRegister::ID_AA64PFR1_EL1, 4), 0xf, "SSBS is the host's");
        assert_eq!(field(SystemRegister::ID_AA64DFR0_EL1, 8), 0);
        assert_eq!(field(SystemRegister::ID_AA64DFR0_EL1, 0), 0xf, "the debug architecture is the host's");
        assert_eq!(field(SystemRegister::ID_AA64MMFR2_EL1, 24), 0);
        assert_eq!(field(SystemRegister::ID_AA64MMFR1_EL1, 8), 0);
        for nothing in [
            SystemRegister::ID_AA64DFR1_EL1,
            SystemRegister::ID_AA64ZFR0_EL1,
            SystemRegister::ID_AA64SMFR0_EL1,
        ] {
            assert_eq!(guest_value(nothing, u64::MAX, 40), 0);
        }
    }

    #[test]
    fn the_address_width_is_the_machines_and_the_granules_are_the_hosts() {
        let register = SystemRegister::ID_AA64MMFR0_EL1;
        for (bits, code) in [(32, 0), (36, 1), (39, 1), (40, 2), (42, 3), (44, 4), (48, 5), (52, 6)] {
            assert_eq!(guest_value(register, 0xf0f1_2345_6789_abc5, bits), 0xf0f1_2345_6789_abc0 | code);
        }
    }

    #[test]
    fn what_the_policy_does_not_know_is_the_hosts() {
        assert_eq!(guest_value(SystemRegister::MIDR_EL1, HOST, 36), HOST);
        assert_eq!(guest_value(SystemRegister::ID_AA64ISAR0_EL1, HOST, 36), HOST);
    }

    #[test]
    fn what_is_set_and_read_back_twice_stays() {
        for register in ID_REGISTERS {
            let value = guest_value(*register, HOST, 40);
            assert_eq!(guest_value(*register, value, 40), value);
            assert_eq!(check(*register, value, value), Ok(()));
            let kept = check(*register, value, !value).unwrap_err();
            assert!(kept.to_string().starts_with(&format!("{register} was set to")));
        }
    }
}
