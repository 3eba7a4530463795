//! The aarch64 guest: host facts, interrupt plan and register state.

pub mod psci;
pub mod smccc;

use std::{collections::BTreeMap, fmt, ops::Range};

use super::Arch;

/// Guests in the `AArch64` state of the Arm architecture (Arm ARM, DDI 0487), entered at EL1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Aarch64;

impl Arch for Aarch64 {
    type Facts = Facts;
    type IrqPlan = IrqPlan;
    type CpuState = CpuState;
}

/// What an aarch64 host can give its guests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Most vCPUs of one guest.
    pub max_vcpus: u32,
    /// Widest intermediate physical address (IPA) in bits.
    pub physical_address_bits: u8,
}

/// Where the interrupt controllers lie: a `GICv3` (IHI 0069) with a `GICv2m` frame for MSIs (SBSA, appendix E).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IrqPlan {
    /// Address of the distributor, 64 KiB.
    pub distributor: u64,
    /// Address of the redistributors: [`REDISTRIBUTOR_SIZE`] for each vCPU, in their order.
    pub redistributors: u64,
    /// Address of the `GICv2m` frame, 64 KiB.
    pub msi_frame: u64,
    /// INTIDs of the SPIs that messages raise.
    pub msis: Range<u32>,
    /// Number of INTIDs: SGIs, PPIs and SPIs; a multiple of 32.
    pub intids: u32,
}

/// Size of the distributor's window (IHI 0069, 12.8).
pub const DISTRIBUTOR_SIZE: u64 = 64 << 10;
/// Size of the two frames of one vCPU's redistributor (IHI 0069, 12.10).
pub const REDISTRIBUTOR_SIZE: u64 = 128 << 10;
/// Size of the window of a `GICv2m` frame.
pub const MSI_FRAME_SIZE: u64 = 64 << 10;
/// Offset in the `GICv2m` frame of the register that takes messages, `MSI_SETSPI_NS`.
pub const MSI_SETSPI: u64 = 0x40;
/// INTID of the first SPI.
pub const FIRST_SPI: u32 = 32;

/// INTIDs of the PPIs of the architected timers (BSA, 3.6).
pub mod timer {
    /// Of the EL1 virtual timer.
    pub const VIRTUAL: u32 = 27;
    /// Of the EL1 physical timer.
    pub const PHYSICAL: u32 = 30;
    /// Of the secure EL1 physical timer.
    pub const SECURE: u32 = 29;
    /// Of the EL2 physical timer.
    pub const HYPERVISOR: u32 = 26;
}

/// The affinity fields of `MPIDR_EL1` for vCPU `index`: 16 vCPUs in Aff0, then Aff1, as KVM numbers them.
pub fn affinity(index: u32) -> u64 {
    u64::from(index % 16) | u64::from(index / 16) << 8
}

/// One core's registers: what a loader sets and a debugger reads.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CpuState {
    /// X0 to X30.
    pub x: [u64; 31],
    /// Program counter.
    pub pc: u64,
    /// PSTATE in the form of `SPSR_EL1`.
    pub pstate: u64,
    /// V0 to V31.
    pub v: [u128; 32],
    /// Floating-point control register.
    pub fpcr: u64,
    /// Floating-point status register.
    pub fpsr: u64,
    /// System registers. Setting a state leaves those alone that are not in it.
    pub system: BTreeMap<SystemRegister, u64>,
}

/// PSTATE at reset: EL1 with its own stack pointer, all exceptions masked (Arm ARM, C5.2.19).
pub const PSTATE_AT_RESET: u64 = 0x3c5;

/// A system register by its encoding in MRS and MSR: op0 in bits 14-15, op1 in 11-13, `CRn` in 7-10, `CRm` in 3-6,
/// op2 in 0-2, which is how both KVM and Hypervisor.framework name it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SystemRegister(pub u16);

impl SystemRegister {
    /// The register `S<op0>_<op1>_C<crn>_C<crm>_<op2>`; bits beyond each field are dropped.
    pub const fn new(op0: u8, op1: u8, crn: u8, crm: u8, op2: u8) -> Self {
        Self(
            (op0 as u16 & 3) << 14
                | (op1 as u16 & 7) << 11
                | (crn as u16 & 15) << 7
                | (crm as u16 & 15) << 3
                | (op2 as u16 & 7),
        )
    }

    /// The first part of the encoding.
    pub const fn op0(self) -> u16 {
        self.0 >> 14
    }

    /// The second part of the encoding.
    pub const fn op1(self) -> u16 {
        self.0 >> 11 & 7
    }

    /// The third part of the encoding.
    pub const fn crn(self) -> u16 {
        self.0 >> 7 & 15
    }

    /// The fourth part of the encoding.
    pub const fn crm(self) -> u16 {
        self.0 >> 3 & 15
    }

    /// The fifth part of the encoding.
    pub const fn op2(self) -> u16 {
        self.0 & 7
    }
}

impl fmt::Debug for SystemRegister {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for SystemRegister {
    /// The name that every assembler takes: `S3_0_C1_C0_0`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "S{}_{}_C{}_C{}_{}", self.op0(), self.op1(), self.crn(), self.crm(), self.op2())
    }
}

macro_rules! system_registers {
    ($($name:ident = $op0:literal $op1:literal $crn:literal $crm:literal $op2:literal;)*) => {
        #[expect(missing_docs, reason = "each constant is the register of its name (Arm ARM, D24)")]
        impl SystemRegister {
            $(pub const $name: Self = Self::new($op0, $op1, $crn, $crm, $op2);)*

            /// The registers that make up the state of a core at EL1, beside what [`CpuState`] names: those that
            /// a guest writes and both KVM and Hypervisor.framework let their user read and write.
            pub const STATE: &[Self] = &[$(Self::$name),*];
        }
    };
}

system_registers! {
    MDSCR_EL1 = 2 0 0 2 2;
    SCTLR_EL1 = 3 0 1 0 0;
    CPACR_EL1 = 3 0 1 0 2;
    TTBR0_EL1 = 3 0 2 0 0;
    TTBR1_EL1 = 3 0 2 0 1;
    TCR_EL1 = 3 0 2 0 2;
    APIAKEYLO_EL1 = 3 0 2 1 0;
    APIAKEYHI_EL1 = 3 0 2 1 1;
    APIBKEYLO_EL1 = 3 0 2 1 2;
    APIBKEYHI_EL1 = 3 0 2 1 3;
    APDAKEYLO_EL1 = 3 0 2 2 0;
    APDAKEYHI_EL1 = 3 0 2 2 1;
    APDBKEYLO_EL1 = 3 0 2 2 2;
    APDBKEYHI_EL1 = 3 0 2 2 3;
    APGAKEYLO_EL1 = 3 0 2 3 0;
    APGAKEYHI_EL1 = 3 0 2 3 1;
    SPSR_EL1 = 3 0 4 0 0;
    ELR_EL1 = 3 0 4 0 1;
    SP_EL0 = 3 0 4 1 0;
    SP_EL1 = 3 4 4 1 0;
    AFSR0_EL1 = 3 0 5 1 0;
    AFSR1_EL1 = 3 0 5 1 1;
    ESR_EL1 = 3 0 5 2 0;
    FAR_EL1 = 3 0 6 0 0;
    PAR_EL1 = 3 0 7 4 0;
    MAIR_EL1 = 3 0 10 2 0;
    AMAIR_EL1 = 3 0 10 3 0;
    VBAR_EL1 = 3 0 12 0 0;
    CONTEXTIDR_EL1 = 3 0 13 0 1;
    TPIDR_EL1 = 3 0 13 0 4;
    CNTKCTL_EL1 = 3 0 14 1 0;
    CSSELR_EL1 = 3 2 0 0 0;
    TPIDR_EL0 = 3 3 13 0 2;
    TPIDRRO_EL0 = 3 3 13 0 3;
    CNTV_CTL_EL0 = 3 3 14 3 1;
    CNTV_CVAL_EL0 = 3 3 14 3 2;
}

#[expect(missing_docs, reason = "each constant is the register of its name (Arm ARM, D24)")]
impl SystemRegister {
    pub const MIDR_EL1: Self = Self::new(3, 0, 0, 0, 0);
    pub const MPIDR_EL1: Self = Self::new(3, 0, 0, 0, 5);
    pub const ID_AA64PFR0_EL1: Self = Self::new(3, 0, 0, 4, 0);
    pub const ID_AA64PFR1_EL1: Self = Self::new(3, 0, 0, 4, 1);
    pub const ID_AA64DFR0_EL1: Self = Self::new(3, 0, 0, 5, 0);
    pub const ID_AA64DFR1_EL1: Self = Self::new(3, 0, 0, 5, 1);
    pub const ID_AA64ISAR0_EL1: Self = Self::new(3, 0, 0, 6, 0);
    pub const ID_AA64ISAR1_EL1: Self = Self::new(3, 0, 0, 6, 1);
    pub const ID_AA64ISAR2_EL1: Self = Self::new(3, 0, 0, 6, 2);
    pub const ID_AA64MMFR0_EL1: Self = Self::new(3, 0, 0, 7, 0);
    pub const ID_AA64MMFR1_EL1: Self = Self::new(3, 0, 0, 7, 1);
    pub const ID_AA64MMFR2_EL1: Self = Self::new(3, 0, 0, 7, 2);
    pub const ID_AA64ZFR0_EL1: Self = Self::new(3, 0, 0, 4, 4);
    pub const ID_AA64SMFR0_EL1: Self = Self::new(3, 0, 0, 4, 5);
    pub const CNTFRQ_EL0: Self = Self::new(3, 3, 14, 0, 0);
    pub const CNTVCT_EL0: Self = Self::new(3, 3, 14, 0, 2);
    pub const CNTVOFF_EL2: Self = Self::new(3, 4, 14, 0, 3);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_register_is_named_by_its_fields() {
        let register = SystemRegister::new(3, 3, 14, 3, 2);
        assert_eq!(register.to_string(), "S3_3_C14_C3_2");
        // KVM_REG_ARM_TIMER_CVAL's true encoding, and HV_SYS_REG_CNTV_CVAL_EL0.
        assert_eq!(register.0, 0xdf1a);
        assert_eq!(SystemRegister::MPIDR_EL1.0, 0xc005);
    }

    #[test]
    fn sixteen_vcpus_share_an_aff1() {
        assert_eq!((affinity(0), affinity(15), affinity(16), affinity(63)), (0, 15, 0x100, 0x30f));
    }
}
