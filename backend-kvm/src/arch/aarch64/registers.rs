//! A core's registers, between the machine's form and KVM's, where each has a number (KVM API, 4.68).

use std::{
    io,
    mem::{offset_of, size_of},
};

use hv_core::{
    arch::aarch64::{CpuState, SystemRegister},
    hypervisor::{Error, Result},
};
use kvm_bindings::{
    KVM_REG_ARM_CORE, KVM_REG_ARM_FW, KVM_REG_ARM64, KVM_REG_ARM64_SYSREG, KVM_REG_SIZE_U32,
    KVM_REG_SIZE_U64, KVM_REG_SIZE_U128, kvm_regs, user_fpsimd_state, user_pt_regs,
};
use kvm_ioctls::VcpuFd;

const SP_EL0: usize = offset_of!(kvm_regs, regs) + offset_of!(user_pt_regs, sp);
const PC: usize = offset_of!(kvm_regs, regs) + offset_of!(user_pt_regs, pc);
const PSTATE: usize = offset_of!(kvm_regs, regs) + offset_of!(user_pt_regs, pstate);
const FPCR: usize = offset_of!(kvm_regs, fp_regs) + offset_of!(user_fpsimd_state, fpcr);
const FPSR: usize = offset_of!(kvm_regs, fp_regs) + offset_of!(user_fpsimd_state, fpsr);

pub(crate) fn state(vcpu: &VcpuFd) -> Result<CpuState> {
    let mut state = CpuState {
        pc: program_counter(vcpu)?,
        pstate: u64::from_le_bytes(read(vcpu, core64(PSTATE))?),
        fpcr: u32::from_le_bytes(read(vcpu, core32(FPCR))?).into(),
        fpsr: u32::from_le_bytes(read(vcpu, core32(FPSR))?).into(),
        ..Default::default()
    };
    for (index, value) in state.x.iter_mut().enumerate() {
        *value = u64::from_le_bytes(read(vcpu, general(index))?);
    }
    for (index, value) in state.v.iter_mut().enumerate() {
        *value = u128::from_le_bytes(read(vcpu, vector(index))?);
    }
    for register in SystemRegister::STATE {
        match try_read(vcpu, system(*register)) {
            Ok(value) => _ = state.system.insert(*register, u64::from_le_bytes(value)),
            // One that this host's processor, or what it shows to guests, does not have.
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
            Err(error) => return Err(Error::new("KVM_GET_ONE_REG", named(*register, &error))),
        }
    }
    Ok(state)
}

pub(crate) fn set_state(vcpu: &VcpuFd, state: &CpuState) -> Result<()> {
    for (index, value) in state.x.iter().enumerate() {
        write(vcpu, general(index), &value.to_le_bytes())?;
    }
    for (index, value) in state.v.iter().enumerate() {
        write(vcpu, vector(index), &value.to_le_bytes())?;
    }
    write(vcpu, core64(PC), &state.pc.to_le_bytes())?;
    write(vcpu, core64(PSTATE), &state.pstate.to_le_bytes())?;
    write(vcpu, core32(FPCR), &low_half(state.fpcr))?;
    write(vcpu, core32(FPSR), &low_half(state.fpsr))?;
    for (register, value) in &state.system {
        vcpu.set_one_reg(system(*register), &value.to_le_bytes())
            .map_err(|error| Error::new("KVM_SET_ONE_REG", named(*register, &error.into())))?;
    }
    Ok(())
}

/// The version of PSCI that the whole VM has. Before it runs.
pub(super) fn set_psci_version(vcpu: &VcpuFd, version: u64) -> Result<()> {
    /// `KVM_REG_ARM_PSCI_VERSION`, the first of the firmware's (KVM API, virt/kvm/arm/fw-pseudo-registers).
    const PSCI_VERSION: u64 = KVM_REG_ARM64 | KVM_REG_SIZE_U64 | KVM_REG_ARM_FW as u64;
    write(vcpu, PSCI_VERSION, &version.to_le_bytes())
}

pub(super) fn program_counter(vcpu: &VcpuFd) -> Result<u64> {
    read(vcpu, core64(PC)).map(u64::from_le_bytes)
}

fn try_read<const SIZE: usize>(vcpu: &VcpuFd, id: u64) -> io::Result<[u8; SIZE]> {
    let mut value = [0; SIZE];
    vcpu.get_one_reg(id, &mut value)?;
    Ok(value)
}

fn read<const SIZE: usize>(vcpu: &VcpuFd, id: u64) -> Result<[u8; SIZE]> {
    try_read(vcpu, id).map_err(|error| Error::new("KVM_GET_ONE_REG", error))
}

fn write(vcpu: &VcpuFd, id: u64, value: &[u8]) -> Result<()> {
    vcpu.set_one_reg(id, value).map(drop).map_err(|error| Error::new("KVM_SET_ONE_REG", error))
}

fn named(register: SystemRegister, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{register}: {error}"))
}

/// The floating-point registers have 64 bits, of which the upper half is reserved.
fn low_half(value: u64) -> [u8; 4] {
    let [a, b, c, d, ..] = value.to_le_bytes();
    [a, b, c, d]
}

/// A core register is named by its place in `struct kvm_regs`, counted in 32-bit words.
fn core(size: u64, offset: usize) -> u64 {
    KVM_REG_ARM64 | size | u64::from(KVM_REG_ARM_CORE) | (offset / 4) as u64
}

fn core32(offset: usize) -> u64 {
    core(KVM_REG_SIZE_U32, offset)
}

fn core64(offset: usize) -> u64 {
    core(KVM_REG_SIZE_U64, offset)
}

fn general(index: usize) -> u64 {
    core64(offset_of!(kvm_regs, regs) + offset_of!(user_pt_regs, regs) + index * size_of::<u64>())
}

fn vector(index: usize) -> u64 {
    let first = offset_of!(kvm_regs, fp_regs) + offset_of!(user_fpsimd_state, vregs);
    core(KVM_REG_SIZE_U128, first + index * size_of::<u128>())
}

/// A system register is named by its encoding, but for those that are core registers to KVM, and for the virtual timer:
/// its compare value and its counter were given each other's encoding (KVM API, 4.68, `KVM_REG_ARM_TIMER_CVAL`).
fn system(register: SystemRegister) -> u64 {
    let encoding = match register {
        SystemRegister::SP_EL0 => return core64(SP_EL0),
        SystemRegister::SP_EL1 => return core64(offset_of!(kvm_regs, sp_el1)),
        SystemRegister::ELR_EL1 => return core64(offset_of!(kvm_regs, elr_el1)),
        SystemRegister::SPSR_EL1 => return core64(offset_of!(kvm_regs, spsr)),
        SystemRegister::CNTV_CVAL_EL0 => SystemRegister::CNTVCT_EL0,
        SystemRegister::CNTVCT_EL0 => SystemRegister::CNTV_CVAL_EL0,
        other => other,
    };
    KVM_REG_ARM64 | KVM_REG_SIZE_U64 | u64::from(KVM_REG_ARM64_SYSREG) | u64::from(encoding.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The numbers that the KVM API's table in 4.68 spells out.
    #[test]
    fn core_registers_have_the_numbers_of_the_api() {
        assert_eq!(general(0), 0x6030_0000_0010_0000);
        assert_eq!(general(30), 0x6030_0000_0010_003c);
        assert_eq!(core64(PC), 0x6030_0000_0010_0040);
        assert_eq!(core64(PSTATE), 0x6030_0000_0010_0042);
        assert_eq!(vector(0), 0x6040_0000_0010_0054);
        assert_eq!(vector(31), 0x6040_0000_0010_00d0);
        assert_eq!(core32(FPSR), 0x6020_0000_0010_00d4);
        assert_eq!(core32(FPCR), 0x6020_0000_0010_00d5);
        let of = [
            (SystemRegister::SP_EL0, 0x3e),
            (SystemRegister::SP_EL1, 0x44),
            (SystemRegister::ELR_EL1, 0x46),
            (SystemRegister::SPSR_EL1, 0x48),
        ];
        assert_eq!(of.map(|(register, _)| system(register)), of.map(|(_, n)| 0x6030_0000_0010_0000 | n));
    }

    #[test]
    fn the_virtual_timer_has_compare_value_and_counter_swapped() {
        assert_eq!(system(SystemRegister::CNTV_CTL_EL0), 0x6030_0000_0013_df19);
        assert_eq!(system(SystemRegister::CNTV_CVAL_EL0), 0x6030_0000_0013_df02);
        assert_eq!(system(SystemRegister::CNTVCT_EL0), 0x6030_0000_0013_df1a);
        assert_eq!(system(SystemRegister::SCTLR_EL1), 0x6030_0000_0013_c080);
    }
}
