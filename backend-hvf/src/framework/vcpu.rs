//! `Core`: one vCPU of the framework, on the thread that made it.
#![expect(unsafe_code, reason = "calls a C framework")]

use std::{io, ptr};

use applevisor_sys::{self as sys, hv_reg_t, hv_simd_fp_reg_t, hv_sys_reg_t, hv_vcpu_exit_t};
use hv_core::{
    arch::aarch64::SystemRegister,
    hypervisor::{Error, Result},
};

use super::{IccRegister, RedistributorRegister, check};

/// A vCPU. All its calls come from the thread that made it, which the pointer sees to: it is not `Send`.
#[derive(Debug)]
pub(crate) struct Core {
    id: sys::hv_vcpu_t,
    exit: *const hv_vcpu_exit_t,
}

/// Why a core came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// [`stop_running`] was called since it last came back.
    Canceled,
    /// An exception was taken to the host.
    Exception {
        /// `ESR_EL2`.
        syndrome: u64,
        /// `FAR_EL2`.
        virtual_address: u64,
        /// The address in `HPFAR_EL2`, with its offset in the page.
        physical_address: u64,
    },
    /// The virtual timer fires, and is masked now.
    VirtualTimer,
    /// A reason that the framework's header does not name.
    Unknown(u32),
}

/// A register that is not a system register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Register {
    /// X0 to X30 by number; 31 is XZR.
    X(u8),
    Pc,
    Fpcr,
    Fpsr,
    /// PSTATE in the form of SPSR.
    Cpsr,
}

impl Core {
    /// Makes a vCPU on this thread. The caller keeps the VM alive for as long.
    pub(crate) fn create() -> Result<Self> {
        let (mut id, mut exit) = (0, ptr::null());
        // SAFETY: the framework writes a number and a pointer; it takes its default configuration for none.
        let made = unsafe { sys::hv_vcpu_create(&raw mut id, &raw mut exit, ptr::null_mut()) };
        check("hv_vcpu_create", made)?;
        Ok(Self { id, exit })
    }

    /// Its name for [`stop_running`].
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// Enters the guest.
    pub(crate) fn run(&mut self) -> Result<Reason> {
        // SAFETY: the vCPU is this thread's own.
        check("hv_vcpu_run", unsafe { sys::hv_vcpu_run(self.id) })?;
        // SAFETY: the record is valid from creation to destruction and written by `hv_vcpu_run` alone. The reason is
        // read as the number it is: an enum must not hold a value that a later macOS may add.
        let (reason, exception) =
            unsafe { (self.exit.cast::<u32>().read(), (&raw const (*self.exit).exception).read()) };
        Ok(match reason {
            0 => Reason::Canceled,
            1 => Reason::Exception {
                syndrome: exception.syndrome,
                virtual_address: exception.virtual_address,
                physical_address: exception.physical_address,
            },
            2 => Reason::VirtualTimer,
            reason => Reason::Unknown(reason),
        })
    }

    pub(crate) fn register(&self, register: Register) -> Result<u64> {
        let Some(register) = register.name() else { return Ok(0) };
        let mut value = 0;
        // SAFETY: the vCPU is this thread's own; the framework writes one u64.
        check("hv_vcpu_get_reg", unsafe { sys::hv_vcpu_get_reg(self.id, register, &raw mut value) })?;
        Ok(value)
    }

    pub(crate) fn set_register(&mut self, register: Register, value: u64) -> Result<()> {
        let Some(register) = register.name() else { return Ok(()) };
        // SAFETY: the vCPU is this thread's own.
        check("hv_vcpu_set_reg", unsafe { sys::hv_vcpu_set_reg(self.id, register, value) })
    }

    pub(crate) fn system_register(&self, register: SystemRegister) -> Result<u64> {
        let mut value = 0;
        let name = system_name("hv_vcpu_get_sys_reg", register)?;
        // SAFETY: the vCPU is this thread's own; the framework writes one u64.
        check("hv_vcpu_get_sys_reg", unsafe { sys::hv_vcpu_get_sys_reg(self.id, name, &raw mut value) })?;
        Ok(value)
    }

    pub(crate) fn set_system_register(&mut self, register: SystemRegister, value: u64) -> Result<()> {
        let name = system_name("hv_vcpu_set_sys_reg", register)?;
        // SAFETY: the vCPU is this thread's own.
        check("hv_vcpu_set_sys_reg", unsafe { sys::hv_vcpu_set_sys_reg(self.id, name, value) })
            .map_err(|error| Error { source: named(register, &error.source), ..error })
    }

    /// V`number`, 0 to 31; a number beyond reads as 0.
    pub(crate) fn vector(&self, number: u8) -> Result<u128> {
        let mut value = 0;
        if let Some(name) = VECTORS.get(usize::from(number)) {
            // SAFETY: the vCPU is this thread's own; the framework writes 16 bytes.
            let read = unsafe { sys::hv_vcpu_get_simd_fp_reg(self.id, *name, &raw mut value) };
            check("hv_vcpu_get_simd_fp_reg", read)?;
        }
        Ok(value)
    }

    pub(crate) fn set_vector(&mut self, number: u8, value: u128) -> Result<()> {
        let Some(name) = VECTORS.get(usize::from(number)) else { return Ok(()) };
        // SAFETY: the vCPU is this thread's own.
        check("hv_vcpu_set_simd_fp_reg", unsafe { set_vector(self.id, *name, &value) })
    }

    pub(crate) fn vectors(&self) -> Result<[u128; 32]> {
        let mut values = [0; 32];
        for (number, value) in (0..).zip(&mut values) {
            *value = self.vector(number)?;
        }
        Ok(values)
    }

    pub(crate) fn set_vectors(&mut self, values: &[u128; 32]) -> Result<()> {
        (0..).zip(values).try_for_each(|(number, value)| self.set_vector(number, *value))
    }

    /// Lets the virtual timer come to the host again, or keeps it from that.
    pub(crate) fn mask_virtual_timer(&mut self, masked: bool) -> Result<()> {
        // SAFETY: the vCPU is this thread's own.
        check("hv_vcpu_set_vtimer_mask", unsafe { sys::hv_vcpu_set_vtimer_mask(self.id, masked) })
    }

    /// What the guest's virtual counter lags behind the host's.
    pub(crate) fn virtual_timer_offset(&self) -> Result<u64> {
        let mut offset = 0;
        // SAFETY: the vCPU is this thread's own; the framework writes one u64.
        let read = unsafe { sys::hv_vcpu_get_vtimer_offset(self.id, &raw mut offset) };
        check("hv_vcpu_get_vtimer_offset", read)?;
        Ok(offset)
    }

    /// A register of the GIC's CPU interface.
    pub(crate) fn icc(&self, register: IccRegister) -> Result<u64> {
        let mut value = 0;
        // SAFETY: the vCPU is this thread's own; the framework writes one u64.
        check("hv_gic_get_icc_reg", unsafe { sys::hv_gic_get_icc_reg(self.id, register, &raw mut value) })?;
        Ok(value)
    }

    pub(crate) fn set_icc(&mut self, register: IccRegister, value: u64) -> Result<()> {
        // SAFETY: the vCPU is this thread's own.
        check("hv_gic_set_icc_reg", unsafe { sys::hv_gic_set_icc_reg(self.id, register, value) })
    }

    /// A register of the core's redistributor.
    pub(crate) fn redistributor(&self, register: RedistributorRegister) -> Result<u64> {
        let mut value = 0;
        // SAFETY: the vCPU is this thread's own; the framework writes one u64.
        let read = unsafe { sys::hv_gic_get_redistributor_reg(self.id, register, &raw mut value) };
        check("hv_gic_get_redistributor_reg", read)?;
        Ok(value)
    }

    pub(crate) fn set_redistributor(&mut self, register: RedistributorRegister, value: u64) -> Result<()> {
        // SAFETY: the vCPU is this thread's own.
        let written = unsafe { sys::hv_gic_set_redistributor_reg(self.id, register, value) };
        check("hv_gic_set_redistributor_reg", written)
    }

    /// Guest-physical address of the core's redistributor. Only once its affinity is set.
    pub(crate) fn redistributor_base(&self) -> Result<u64> {
        let mut base = 0;
        // SAFETY: the vCPU is this thread's own; the framework writes one u64.
        let read = unsafe { sys::hv_gic_get_redistributor_base(self.id, &raw mut base) };
        check("hv_gic_get_redistributor_base", read)?;
        Ok(base)
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        // SAFETY: the vCPU is this thread's own, and nobody has a use for it any more.
        if let Err(error) = check("hv_vcpu_destroy", unsafe { sys::hv_vcpu_destroy(self.id) }) {
            tracing::warn!("{error}");
        }
    }
}

/// Makes the vCPU `id` leave the guest, or, if it is outside, come back from the next [`Core::run`] at once
/// (`hv_vcpus_exit`: any thread, any time).
pub(crate) fn stop_running(id: u64) -> Result<()> {
    // SAFETY: the framework reads one identifier.
    check("hv_vcpus_exit", unsafe { sys::hv_vcpus_exit(&raw const id, 1) })
}

/// `hv_vcpu_set_simd_fp_reg`, whose last argument C passes in a vector register and Rust's `u128` in two others.
///
/// # Safety
/// As of the call itself: the vCPU belongs to this thread.
#[cfg(all(target_os = "macos", target_arch = "aarch64", not(feature = "simulated")))]
unsafe fn set_vector(id: sys::hv_vcpu_t, name: hv_simd_fp_reg_t, value: &u128) -> sys::hv_return_t {
    let code: u64;
    // SAFETY: a call by the platform's rules: identifier in x0, register in w1, value in q0, answer in w0; everything
    // that a call may change is given up.
    unsafe {
        std::arch::asm!(
            "ldr q0, [x2]",
            "bl {set}",
            set = sym sys::hv_vcpu_set_simd_fp_reg,
            inout("x0") id => code,
            in("x1") name as u64,
            in("x2") ptr::from_ref(value),
            clobber_abi("C"),
        );
    }
    // The low half holds the answer.
    let [a, b, c, d, ..] = code.to_le_bytes();
    sys::hv_return_t::from_le_bytes([a, b, c, d])
}

/// The simulation's own, which is Rust too and takes the argument as Rust passes it.
///
/// # Safety
/// As of the call itself: the vCPU belongs to this thread.
#[cfg(not(all(target_os = "macos", target_arch = "aarch64", not(feature = "simulated"))))]
unsafe fn set_vector(id: sys::hv_vcpu_t, name: hv_simd_fp_reg_t, value: &u128) -> sys::hv_return_t {
    // SAFETY: as the caller says.
    unsafe { sys::hv_vcpu_set_simd_fp_reg(id, name, *value) }
}

impl Register {
    /// The framework's name; none for XZR.
    fn name(self) -> Option<hv_reg_t> {
        match self {
            Self::X(number) => GENERAL.get(usize::from(number)).copied(),
            Self::Pc => Some(hv_reg_t::PC),
            Self::Fpcr => Some(hv_reg_t::FPCR),
            Self::Fpsr => Some(hv_reg_t::FPSR),
            Self::Cpsr => Some(hv_reg_t::CPSR),
        }
    }
}

/// The framework's name of a system register, which is the same number.
fn system_name(operation: &'static str, register: SystemRegister) -> Result<hv_sys_reg_t> {
    let named = SYSTEM.iter().find(|name| **name as u32 == u32::from(register.0));
    named.copied().ok_or_else(|| {
        let unknown = format!("the framework has no register {register}");
        Error::new(operation, io::Error::new(io::ErrorKind::InvalidInput, unknown))
    })
}

fn named(register: SystemRegister, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{register}: {error}"))
}

const GENERAL: [hv_reg_t; 31] = {
    use hv_reg_t::*;
    [
        X0, X1, X2, X3, X4, X5, X6, X7, X8, X9, X10, X11, X12, X13, X14, X15, X16, X17, X18, X19, X20, X21,
        X22, X23, X24, X25, X26, X27, X28, X29, X30,
    ]
};

const VECTORS: [hv_simd_fp_reg_t; 32] = {
    use hv_simd_fp_reg_t::*;
    [
        Q0, Q1, Q2, Q3, Q4, Q5, Q6, Q7, Q8, Q9, Q10, Q11, Q12, Q13, Q14, Q15, Q16, Q17, Q18, Q19, Q20, Q21,
        Q22, Q23, Q24, Q25, Q26, Q27, Q28, Q29, Q30, Q31,
    ]
};

/// The system registers that macOS 15 lets its user read and write, as far as hv has a use for them.
const SYSTEM: &[hv_sys_reg_t] = {
    use hv_sys_reg_t::*;
    &[
        MDSCR_EL1,
        MIDR_EL1,
        MPIDR_EL1,
        ID_AA64PFR0_EL1,
        ID_AA64PFR1_EL1,
        ID_AA64DFR0_EL1,
        ID_AA64DFR1_EL1,
        ID_AA64ISAR0_EL1,
        ID_AA64ISAR1_EL1,
        ID_AA64MMFR0_EL1,
        ID_AA64MMFR1_EL1,
        ID_AA64MMFR2_EL1,
        SCTLR_EL1,
        CPACR_EL1,
        TTBR0_EL1,
        TTBR1_EL1,
        TCR_EL1,
        APIAKEYLO_EL1,
        APIAKEYHI_EL1,
        APIBKEYLO_EL1,
        APIBKEYHI_EL1,
        APDAKEYLO_EL1,
        APDAKEYHI_EL1,
        APDBKEYLO_EL1,
        APDBKEYHI_EL1,
        APGAKEYLO_EL1,
        APGAKEYHI_EL1,
        SPSR_EL1,
        ELR_EL1,
        SP_EL0,
        SP_EL1,
        AFSR0_EL1,
        AFSR1_EL1,
        ESR_EL1,
        FAR_EL1,
        PAR_EL1,
        MAIR_EL1,
        AMAIR_EL1,
        VBAR_EL1,
        CONTEXTIDR_EL1,
        TPIDR_EL1,
        CNTKCTL_EL1,
        CSSELR_EL1,
        TPIDR_EL0,
        TPIDRRO_EL0,
        CNTV_CTL_EL0,
        CNTV_CVAL_EL0,
        CNTP_CTL_EL0,
        CNTP_CVAL_EL0,
    ]
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_register_of_the_state_has_a_name() {
        for register in SystemRegister::STATE {
            assert!(system_name("test", *register).is_ok(), "{register}");
        }
        assert!(system_name("test", SystemRegister::CNTVCT_EL0).is_err());
        assert_eq!((Register::X(30).name(), Register::X(31).name()), (Some(hv_reg_t::X30), None));
    }
}
