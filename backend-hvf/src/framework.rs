//! Hypervisor.framework's calls, made safe: errors as `Result`, objects with an owner, one VM in a process.
#![expect(unsafe_code, reason = "calls a C framework")]

mod clock;
mod gic;
mod refusal;
mod vcpu;

use std::{
    ffi::{c_int, c_void},
    ptr,
};

use applevisor_sys as sys;
use hv_core::hypervisor::{Error, Result};

pub(crate) use self::{
    clock::{counter, counter_frequency},
    gic::{Gic, IccRegister, RedistributorRegister},
    vcpu::{Core, Reason, Register, stop_running},
};

/// The granule of every address and size that the framework maps (`PAGE_SIZE` of an Apple processor).
pub(crate) const GRANULE: u64 = 16 << 10;

/// The process's virtual machine. The framework has one in a process at a time; it goes with this.
#[derive(Debug)]
pub(crate) struct Machine(());

/// An object of the framework, with a reference to give back.
struct Object(*mut c_void);

impl Machine {
    /// Makes the process's VM, with guest-physical addresses of `address_bits`, or as many as the host likes best.
    pub(crate) fn create(address_bits: Option<u8>) -> Result<Self> {
        // SAFETY: it makes a configuration object and has no precondition.
        let config = Object::owned("hv_vm_config_create", unsafe { sys::hv_vm_config_create() })?;
        if let Some(bits) = address_bits {
            // SAFETY: `config` is a live VM configuration.
            let set = unsafe { sys::hv_vm_config_set_ipa_size(config.0, bits.into()) };
            check("hv_vm_config_set_ipa_size", set)?;
        }
        // SAFETY: `config` is a live VM configuration.
        check("hv_vm_create", unsafe { sys::hv_vm_create(config.0) })?;
        Ok(Self(()))
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // SAFETY: the VM exists for as long as this. Cores and mappings share it, so that none is left.
        if let Err(error) = check("hv_vm_destroy", unsafe { sys::hv_vm_destroy() }) {
            tracing::warn!("{error}");
        }
    }
}

/// Most vCPUs of a VM.
pub(crate) fn max_vcpus() -> Result<u32> {
    let mut count = 0;
    // SAFETY: the framework writes one u32.
    check("hv_vm_get_max_vcpu_count", unsafe { sys::hv_vm_get_max_vcpu_count(&raw mut count) })?;
    Ok(count)
}

/// Widest guest-physical address in bits.
pub(crate) fn max_address_bits() -> Result<u32> {
    let mut bits = 0;
    // SAFETY: the framework writes one u32.
    check("hv_vm_config_get_max_ipa_size", unsafe { sys::hv_vm_config_get_max_ipa_size(&raw mut bits) })?;
    Ok(bits)
}

/// The framework's answer as a result.
pub(crate) fn check(operation: &'static str, code: c_int) -> Result<()> {
    match code {
        0 => Ok(()),
        code => Err(Error::new(operation, refusal::explain(code.cast_unsigned()))),
    }
}

impl Object {
    /// Takes over the reference that `operation` returned.
    fn owned(operation: &'static str, object: *mut c_void) -> Result<Self> {
        if ptr::eq(object, ptr::null()) {
            return Err(Error::new(operation, std::io::Error::other("the framework returns no object")));
        }
        Ok(Self(object))
    }
}

impl Drop for Object {
    fn drop(&mut self) {
        // SAFETY: the reference is ours, and given back once.
        unsafe { sys::os_release(self.0) };
    }
}
