//! `Template`, what the cores of a VM have in common; `Core`, how one of them is at power-on.
#![expect(unsafe_code, reason = "kvm-ioctls marks KVM_SET_XSAVE unsafe: its size is the host's")]

use std::{fmt, sync::OnceLock};

use hv_core::hypervisor::{Error, Result};
use kvm_bindings::{
    CpuId, kvm_cpuid_entry2, kvm_debugregs, kvm_lapic_state, kvm_mp_state, kvm_msr_entry, kvm_regs,
    kvm_sregs, kvm_vcpu_events, kvm_xcrs, kvm_xsave,
};
use kvm_ioctls::{Cap, Kvm, VcpuFd, VmFd};

use super::{
    cpuid::{self, Place},
    msr, supported_cpuid,
};

/// Registers of the local APIC by their offset (SDM vol. 3, table 12-1), as firmware leaves them in the first core:
/// LINT0 takes the 8259's interrupts (`ExtINT`), LINT1 the NMI.
const LOCAL_INTERRUPTS: [(usize, u32); 2] = [(0x350, 0x700), (0x360, 0x400)];

/// What the cores of a VM have in common.
pub(crate) struct Template {
    cpuid: Vec<kvm_cpuid_entry2>,
    vcpus: u32,
    /// Whether `struct kvm_xsave` holds all of the state that a guest can have.
    xsave: bool,
    xcrs: bool,
    saved_msrs: Vec<u32>,
    /// Those of `saved_msrs` that can be read, known after the first core.
    readable_msrs: OnceLock<Vec<u32>>,
}

/// One core at power-on.
pub(crate) struct Core {
    index: u32,
    regs: kvm_regs,
    sregs: kvm_sregs,
    debug: kvm_debugregs,
    xsave: Option<kvm_xsave>,
    xcrs: Option<kvm_xcrs>,
    lapic: kvm_lapic_state,
    events: kvm_vcpu_events,
    mp_state: kvm_mp_state,
    msrs: Vec<kvm_msr_entry>,
}

impl Template {
    pub(crate) fn new(kvm: &Kvm, _: &VmFd, vcpus: u32) -> Result<Self> {
        let saved = kvm.get_msr_index_list().map_err(|error| Error::new("KVM_GET_MSR_INDEX_LIST", error))?;
        let largest = usize::try_from(kvm.check_extension_int(Cap::Xsave2)).unwrap_or(usize::MAX);
        Ok(Self {
            cpuid: supported_cpuid(kvm)?,
            vcpus,
            xsave: kvm.check_extension(Cap::Xsave) && largest <= size_of::<kvm_xsave>(),
            xcrs: kvm.check_extension(Cap::Xcrs),
            saved_msrs: msr::with_memory_types(saved.as_slice()),
            readable_msrs: OnceLock::new(),
        })
    }

    /// Makes `vcpu`, just created, the core `index`: its CPUID, and what firmware would have set.
    pub(crate) fn core(&self, vcpu: &VcpuFd, index: u32) -> Result<Core> {
        // A host whose TSC is not stable does not tell, and the guest has kvmclock.
        let tsc_khz = vcpu.get_tsc_khz().ok().filter(|khz| *khz > 0);
        let cpuid = cpuid::for_core(&self.cpuid, Place { index, count: self.vcpus }, tsc_khz);
        let cpuid = CpuId::from_entries(&cpuid).map_err(|_| {
            Error::new("KVM_SET_CPUID2", std::io::Error::from(std::io::ErrorKind::OutOfMemory))
        })?;
        vcpu.set_cpuid2(&cpuid).map_err(|error| Error::new("KVM_SET_CPUID2", error))?;
        msr::write(vcpu, &msr::firmware())?;
        if index == 0 {
            let mut lapic = vcpu.get_lapic().map_err(|error| Error::new("KVM_GET_LAPIC", error))?;
            for (offset, value) in LOCAL_INTERRUPTS {
                set_register(&mut lapic, offset, value);
            }
            vcpu.set_lapic(&lapic).map_err(|error| Error::new("KVM_SET_LAPIC", error))?;
        }
        self.power_on(vcpu, index)
    }

    fn power_on(&self, vcpu: &VcpuFd, index: u32) -> Result<Core> {
        let xsave = self.xsave.then(|| vcpu.get_xsave()).transpose();
        let xcrs = self.xcrs.then(|| vcpu.get_xcrs()).transpose();
        Ok(Core {
            index,
            regs: vcpu.get_regs().map_err(|error| Error::new("KVM_GET_REGS", error))?,
            sregs: vcpu.get_sregs().map_err(|error| Error::new("KVM_GET_SREGS", error))?,
            debug: vcpu.get_debug_regs().map_err(|error| Error::new("KVM_GET_DEBUGREGS", error))?,
            xsave: xsave.map_err(|error| Error::new("KVM_GET_XSAVE", error))?,
            xcrs: xcrs.map_err(|error| Error::new("KVM_GET_XCRS", error))?,
            lapic: vcpu.get_lapic().map_err(|error| Error::new("KVM_GET_LAPIC", error))?,
            events: vcpu.get_vcpu_events().map_err(|error| Error::new("KVM_GET_VCPU_EVENTS", error))?,
            mp_state: vcpu.get_mp_state().map_err(|error| Error::new("KVM_GET_MP_STATE", error))?,
            msrs: self.msrs(vcpu)?,
        })
    }

    fn msrs(&self, vcpu: &VcpuFd) -> Result<Vec<kvm_msr_entry>> {
        let mut found = msr::read(vcpu, self.readable_msrs.get().unwrap_or(&self.saved_msrs))?;
        self.readable_msrs.get_or_init(|| found.iter().map(|entry| entry.index).collect());
        for entry in found.iter_mut().filter(|entry| entry.index == msr::TIME_STAMP_COUNTER) {
            // All cores start to count together: KVM takes zeros written at about the same time for that.
            entry.data = 0;
        }
        Ok(found)
    }
}

impl Core {
    /// Back to power-on. What depends on something else comes after it: the local APIC after its base address in the
    /// special registers, its timer's MSR after the local APIC, pending events last.
    pub(crate) fn reset(&self, vcpu: &VcpuFd) -> Result<()> {
        vcpu.set_sregs(&self.sregs).map_err(|error| Error::new("KVM_SET_SREGS", error))?;
        vcpu.set_regs(&self.regs).map_err(|error| Error::new("KVM_SET_REGS", error))?;
        vcpu.set_debug_regs(&self.debug).map_err(|error| Error::new("KVM_SET_DEBUGREGS", error))?;
        if let Some(xcrs) = &self.xcrs {
            vcpu.set_xcrs(xcrs).map_err(|error| Error::new("KVM_SET_XCRS", error))?;
        }
        if let Some(xsave) = &self.xsave {
            // SAFETY: KVM reads as much as `KVM_CAP_XSAVE2` says, which `Template::new` compared with the structure.
            unsafe { vcpu.set_xsave(xsave) }.map_err(|error| Error::new("KVM_SET_XSAVE", error))?;
        }
        vcpu.set_lapic(&self.lapic).map_err(|error| Error::new("KVM_SET_LAPIC", error))?;
        msr::write(vcpu, &self.msrs)?;
        vcpu.set_vcpu_events(&self.events).map_err(|error| Error::new("KVM_SET_VCPU_EVENTS", error))?;
        vcpu.set_mp_state(self.mp_state).map_err(|error| Error::new("KVM_SET_MP_STATE", error))
    }
}

/// Sets a register of the local APIC: 32 bits, little-endian, in KVM's image of its page.
fn set_register(lapic: &mut kvm_lapic_state, offset: usize, value: u32) {
    for (byte, new) in lapic.regs.iter_mut().skip(offset).zip(value.to_le_bytes()) {
        *byte = new.cast_signed();
    }
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_register_of_the_local_apic_is_little_endian_at_its_offset() {
        let mut lapic = kvm_lapic_state::default();
        set_register(&mut lapic, 0x350, 0x0087_0700);
        assert_eq!(lapic.regs[0x34f..0x355], [0, 0, 7, -0x79, 0, 0]);
    }
}
