//! `Gic`: the interrupt controller that the framework has since macOS 15 (`hv_gic.h`).
#![expect(unsafe_code, reason = "calls a C framework")]

use std::io;

use applevisor_sys as sys;
pub(crate) use applevisor_sys::{
    hv_gic_icc_reg_t as IccRegister, hv_gic_redistributor_reg_t as RedistributorRegister,
};
use hv_core::{
    arch::aarch64::{DISTRIBUTOR_SIZE, FIRST_SPI, IrqPlan, MSI_FRAME_SIZE, REDISTRIBUTOR_SIZE},
    hypervisor::{Error, Result},
};

use super::{Machine, Object, check};

/// The machine's GIC. The machine outlives its use, which the functions' argument sees to.
#[derive(Debug)]
pub(crate) struct Gic(());

impl Gic {
    /// Makes the GIC of a machine that has no core yet.
    pub(crate) fn create(_machine: &Machine, plan: &IrqPlan) -> Result<Self> {
        fits(plan)?;
        // SAFETY: it makes a configuration object and has no precondition but that there is a VM.
        let config = Object::owned("hv_gic_config_create", unsafe { sys::hv_gic_config_create() })?;
        // SAFETY: `config` is a live GIC configuration.
        let distributor = unsafe { sys::hv_gic_config_set_distributor_base(config.0, plan.distributor) };
        check("hv_gic_config_set_distributor_base", distributor)?;
        // SAFETY: as above.
        let redistributors =
            unsafe { sys::hv_gic_config_set_redistributor_base(config.0, plan.redistributors) };
        check("hv_gic_config_set_redistributor_base", redistributors)?;
        // SAFETY: as above.
        let frame = unsafe { sys::hv_gic_config_set_msi_region_base(config.0, plan.msi_frame) };
        check("hv_gic_config_set_msi_region_base", frame)?;
        let count = plan.msis.end.saturating_sub(plan.msis.start);
        // SAFETY: as above.
        let range = unsafe { sys::hv_gic_config_set_msi_interrupt_range(config.0, plan.msis.start, count) };
        check("hv_gic_config_set_msi_interrupt_range", range)?;
        // SAFETY: as above.
        check("hv_gic_create", unsafe { sys::hv_gic_create(config.0) })?;
        Ok(Self(()))
    }

    /// Drives the line of an SPI, by INTID.
    pub(crate) fn set_spi(&self, intid: u32, high: bool) -> Result<()> {
        // SAFETY: it takes plain values; any thread, any time while there is a VM.
        check("hv_gic_set_spi", unsafe { sys::hv_gic_set_spi(intid, high) })
    }

    /// Stores a message at a guest-physical address.
    pub(crate) fn send_msi(&self, address: u64, intid: u32) -> Result<()> {
        // SAFETY: it takes plain values; any thread, any time while there is a VM.
        check("hv_gic_send_msi", unsafe { sys::hv_gic_send_msi(address, intid) })
    }

    /// Puts distributor, redistributors and what is pending back to power-on.
    pub(crate) fn reset(&self) -> Result<()> {
        // SAFETY: it has no precondition but that there is a GIC.
        check("hv_gic_reset", unsafe { sys::hv_gic_reset() })
    }

    /// Distributor and redistributors in the framework's own format. Only while no core runs.
    pub(crate) fn state(&self) -> Result<Vec<u8>> {
        // SAFETY: it makes a state object of the GIC that there is.
        let state = Object::owned("hv_gic_state_create", unsafe { sys::hv_gic_state_create() })?;
        let mut size = 0;
        // SAFETY: `state` is a live GIC state; the framework writes one usize.
        check("hv_gic_state_get_size", unsafe { sys::hv_gic_state_get_size(state.0, &raw mut size) })?;
        let mut data = vec![0; size];
        // SAFETY: `data` has the size that the framework asks for.
        let read = unsafe { sys::hv_gic_state_get_data(state.0, data.as_mut_ptr().cast()) };
        check("hv_gic_state_get_data", read)?;
        Ok(data)
    }

    /// Brings a state of [`state`](Self::state) back. Only before any core of the VM has run.
    pub(crate) fn set_state(&self, state: &[u8]) -> Result<()> {
        // SAFETY: the framework reads as many bytes as `state` has.
        check("hv_gic_set_state", unsafe { sys::hv_gic_set_state(state.as_ptr().cast(), state.len()) })
    }
}

/// The windows are as large as the plan has room for, and the framework offers the plan's interrupts.
fn fits(plan: &IrqPlan) -> Result<()> {
    let size = |operation, call: unsafe extern "C" fn(*mut usize) -> sys::hv_return_t| {
        let mut size = 0_usize;
        // SAFETY: each of these calls writes one usize.
        check(operation, unsafe { call(&raw mut size) }).map(|()| size as u64)
    };
    let unfit = |operation, what: String| Err(Error::new(operation, io::Error::other(what)));
    for (operation, found, planned) in [
        (
            "hv_gic_get_distributor_size",
            size("hv_gic_get_distributor_size", sys::hv_gic_get_distributor_size)?,
            DISTRIBUTOR_SIZE,
        ),
        (
            "hv_gic_get_redistributor_size",
            size("hv_gic_get_redistributor_size", sys::hv_gic_get_redistributor_size)?,
            REDISTRIBUTOR_SIZE,
        ),
        (
            "hv_gic_get_msi_region_size",
            size("hv_gic_get_msi_region_size", sys::hv_gic_get_msi_region_size)?,
            MSI_FRAME_SIZE,
        ),
    ] {
        if found > planned {
            return unfit(operation, format!("{found:#x} bytes; the machine has {planned:#x} for them"));
        }
    }
    let (mut base, mut count) = (0, 0);
    // SAFETY: the framework writes two u32.
    let read = unsafe { sys::hv_gic_get_spi_interrupt_range(&raw mut base, &raw mut count) };
    check("hv_gic_get_spi_interrupt_range", read)?;
    if base > FIRST_SPI || base.saturating_add(count) < plan.intids {
        let range = format!("INTIDs {base}+{count}; the machine has {FIRST_SPI} to {}", plan.intids);
        return unfit("hv_gic_get_spi_interrupt_range", range);
    }
    Ok(())
}
