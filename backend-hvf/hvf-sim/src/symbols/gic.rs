//! `hv_gic.h`, `hv_gic_config.h`, `hv_gic_parameters.h`, `hv_gic_state.h`.
#![expect(unsafe_code, reason = "C symbols")]

use std::{ffi::c_void, ptr, slice, sync::atomic::Ordering::SeqCst};

use super::answer;
use crate::{
    error::{self, Error, Result},
    gic::{
        Configuration, DISTRIBUTOR_SIZE, Gic, MSI_ALIGNMENT, MSI_SIZE, REDISTRIBUTOR_REGION_SIZE,
        REDISTRIBUTOR_SIZE, SPIS, VIRTUAL_TIMER, WINDOW_ALIGNMENT,
    },
    object::{self, Object},
    vcpu, vm,
};

/// `HV_GIC_INT_PERFORMANCE_MONITOR` and `HV_GIC_INT_EL1_PHYSICAL_TIMER`. The others are there with EL2 only (header).
const RESERVED: [u32; 3] = [23, VIRTUAL_TIMER, 30];
const ROUTERS: std::ops::RangeInclusive<u16> = 0x6100..=0x7fd8;
/// `GICR_TYPER`.
const REDISTRIBUTOR_TYPER: u16 = 8;

fn configure(config: *mut c_void, change: impl FnOnce(&mut Configuration) -> Result<()>) -> i32 {
    error::code(object::change(config, |object| match object {
        Object::Gic(configuration) => change(configuration),
        _ => Err(Error::BadArgument),
    }))
}

/// The VM's GIC, if it has one (model: `HV_NO_DEVICE`); vCPUs hear of what changes.
fn with<T>(work: impl FnOnce(&mut Gic) -> Result<T>) -> Result<T> {
    vm::current()?.with_gic(work).ok_or(Error::NoDevice)?
}

/// The same for the owner of vCPU `id` (header: "must be called by the owning thread").
fn with_own<T>(id: u64, work: impl FnOnce(&mut Gic, usize) -> Result<T>) -> Result<T> {
    vcpu::with(id, |vcpu| {
        let index = vcpu.index;
        vcpu.vm.with_gic(|gic| work(gic, index)).ok_or(Error::NoDevice)?
    })
}

fn found(is_there: bool) -> Result<()> {
    if is_there { Ok(()) } else { Err(Error::BadArgument) }
}

/// `hv_gic_config_create` (header: after the VM; model: NULL before).
#[unsafe(no_mangle)]
extern "C" fn hv_gic_config_create() -> *mut c_void {
    match vm::current() {
        Ok(_) => object::create(Object::Gic(Configuration::default())),
        Err(_) => ptr::null_mut(),
    }
}

/// `hv_gic_config_set_distributor_base`.
#[unsafe(no_mangle)]
extern "C" fn hv_gic_config_set_distributor_base(config: *mut c_void, base: u64) -> i32 {
    configure(config, |configuration| {
        configuration.distributor = Configuration::base(base, WINDOW_ALIGNMENT)?;
        Ok(())
    })
}

/// `hv_gic_config_set_redistributor_base`.
#[unsafe(no_mangle)]
extern "C" fn hv_gic_config_set_redistributor_base(config: *mut c_void, base: u64) -> i32 {
    configure(config, |configuration| {
        configuration.redistributors = Configuration::base(base, WINDOW_ALIGNMENT)?;
        Ok(())
    })
}

/// `hv_gic_config_set_msi_region_base`.
#[unsafe(no_mangle)]
extern "C" fn hv_gic_config_set_msi_region_base(config: *mut c_void, base: u64) -> i32 {
    configure(config, |configuration| {
        configuration.frame = Configuration::base(base, MSI_ALIGNMENT)?;
        Ok(())
    })
}

/// `hv_gic_config_set_msi_interrupt_range`.
#[unsafe(no_mangle)]
extern "C" fn hv_gic_config_set_msi_interrupt_range(config: *mut c_void, base: u32, count: u32) -> i32 {
    configure(config, |configuration| {
        configuration.messages = Configuration::range(base, count)?;
        Ok(())
    })
}

/// `hv_gic_create`.
#[unsafe(no_mangle)]
extern "C" fn hv_gic_create(config: *mut c_void) -> i32 {
    let create = || match object::read(config)? {
        Object::Gic(configuration) => vm::current()?.add_gic(Gic::new(configuration)?),
        _ => Err(Error::BadArgument),
    };
    error::code(create())
}

/// `hv_gic_set_spi`.
#[unsafe(no_mangle)]
extern "C" fn hv_gic_set_spi(intid: u32, level: bool) -> i32 {
    error::code(with(|gic| gic.set_spi(intid, level)))
}

/// `hv_gic_send_msi`.
#[unsafe(no_mangle)]
extern "C" fn hv_gic_send_msi(address: u64, intid: u32) -> i32 {
    error::code(with(|gic| gic.send_msi(address, intid)))
}

/// `hv_gic_reset`.
#[unsafe(no_mangle)]
extern "C" fn hv_gic_reset() -> i32 {
    error::code(with(|gic| {
        gic.reset();
        Ok(())
    }))
}

fn distributor_size(register: u16) -> u32 {
    if ROUTERS.contains(&register) { 8 } else { 4 }
}

fn redistributor_size(register: u16) -> u32 {
    if register == REDISTRIBUTOR_TYPER { 8 } else { 4 }
}

/// `hv_gic_get_distributor_reg`. Header: a register is its offset.
#[unsafe(no_mangle)]
unsafe extern "C" fn hv_gic_get_distributor_reg(register: u16, value: *mut u64) -> i32 {
    let read = with(|gic| {
        gic.read_distributor(register.into(), distributor_size(register)).ok_or(Error::BadArgument)
    });
    // SAFETY: as the header says.
    unsafe { answer(value, read) }
}

/// `hv_gic_set_distributor_reg`.
#[unsafe(no_mangle)]
extern "C" fn hv_gic_set_distributor_reg(register: u16, value: u64) -> i32 {
    error::code(with(|gic| found(gic.write_distributor(register.into(), distributor_size(register), value))))
}

/// `hv_gic_get_redistributor_base`.
#[unsafe(no_mangle)]
unsafe extern "C" fn hv_gic_get_redistributor_base(id: u64, base: *mut u64) -> i32 {
    // SAFETY: as the header says.
    unsafe { answer(base, with_own(id, |gic, index| gic.redistributor_base(index))) }
}

/// `hv_gic_get_redistributor_reg`.
#[unsafe(no_mangle)]
unsafe extern "C" fn hv_gic_get_redistributor_reg(id: u64, register: u32, value: *mut u64) -> i32 {
    let read = with_own(id, |gic, index| {
        let size = u16::try_from(register).map_or(4, redistributor_size);
        gic.read_redistributor(index, register.into(), size).ok_or(Error::BadArgument)
    });
    // SAFETY: as the header says.
    unsafe { answer(value, read) }
}

/// `hv_gic_set_redistributor_reg`.
#[unsafe(no_mangle)]
extern "C" fn hv_gic_set_redistributor_reg(id: u64, register: u32, value: u64) -> i32 {
    error::code(with_own(id, |gic, index| found(gic.write_redistributor(index, register.into(), 4, value))))
}

/// `hv_gic_get_icc_reg`.
#[unsafe(no_mangle)]
unsafe extern "C" fn hv_gic_get_icc_reg(id: u64, register: u16, value: *mut u64) -> i32 {
    let read = with_own(id, |gic, index| gic.interface_register(index, register).ok_or(Error::BadArgument));
    // SAFETY: as the header says.
    unsafe { answer(value, read) }
}

/// `hv_gic_set_icc_reg`.
#[unsafe(no_mangle)]
extern "C" fn hv_gic_set_icc_reg(id: u64, register: u16, value: u64) -> i32 {
    error::code(with_own(id, |gic, index| found(gic.set_interface_register(index, register, value))))
}

/// `hv_gic_get_msi_reg`.
#[unsafe(no_mangle)]
unsafe extern "C" fn hv_gic_get_msi_reg(register: u16, value: *mut u64) -> i32 {
    let read = with(|gic| gic.read_frame(register.into()).ok_or(Error::BadArgument));
    // SAFETY: as the header says.
    unsafe { answer(value, read) }
}

/// `hv_gic_set_msi_reg`.
#[unsafe(no_mangle)]
extern "C" fn hv_gic_set_msi_reg(register: u16, value: u64) -> i32 {
    error::code(with(|gic| found(gic.write_frame(register.into(), value))))
}

/// `hv_gic_set_state`. Header: after GIC and vCPUs are made, before any of them runs (model: `HV_BUSY` later).
#[unsafe(no_mangle)]
unsafe extern "C" fn hv_gic_set_state(data: *const c_void, size: usize) -> i32 {
    let restore = || {
        let vm = vm::current()?;
        if vm.has_run.load(SeqCst) {
            return Err(Error::Busy);
        }
        if data.is_null() {
            return Err(Error::BadArgument);
        }
        // SAFETY: as the header says: a buffer of `size` bytes.
        let state = unsafe { slice::from_raw_parts(data.cast(), size) };
        vm.with_gic(|gic| gic.restore(state)).ok_or(Error::NoDevice)?
    };
    error::code(restore())
}

/// `hv_gic_state_create`. Header: no object without a GIC, and the VM has to be stopped.
#[unsafe(no_mangle)]
extern "C" fn hv_gic_state_create() -> *mut c_void {
    let state = vm::current().ok().filter(|vm| vm.is_stopped()).and_then(|vm| Some(vm.gic()?.state()));
    state.map_or(ptr::null_mut(), |state| object::create(Object::GicState(state)))
}

fn state(object: *mut c_void) -> Result<Vec<u8>> {
    match object::read(object)? {
        Object::GicState(state) => Ok(state),
        _ => Err(Error::BadArgument),
    }
}

/// `hv_gic_state_get_size`.
#[unsafe(no_mangle)]
unsafe extern "C" fn hv_gic_state_get_size(object: *mut c_void, size: *mut usize) -> i32 {
    // SAFETY: as the header says.
    unsafe { answer(size, state(object).map(|state| state.len())) }
}

/// `hv_gic_state_get_data`.
#[unsafe(no_mangle)]
unsafe extern "C" fn hv_gic_state_get_data(object: *mut c_void, data: *mut c_void) -> i32 {
    error::code(state(object).and_then(|state| {
        if data.is_null() {
            return Err(Error::BadArgument);
        }
        // SAFETY: as the header says: a buffer as large as hv_gic_state_get_size told.
        unsafe { ptr::copy_nonoverlapping(state.as_ptr(), data.cast(), state.len()) };
        Ok(())
    }))
}

macro_rules! parameters {
    ($($name:ident = $value:expr;)*) => {$(
        #[doc = concat!("`", stringify!($name), "`.")]
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $name(value: *mut usize) -> i32 {
            let number = usize::try_from($value).map_err(|_| Error::Failed);
            // SAFETY: as the header says.
            unsafe { answer(value, number) }
        }
    )*};
}

parameters! {
    hv_gic_get_distributor_size = DISTRIBUTOR_SIZE;
    hv_gic_get_distributor_base_alignment = WINDOW_ALIGNMENT;
    hv_gic_get_redistributor_region_size = REDISTRIBUTOR_REGION_SIZE;
    hv_gic_get_redistributor_size = REDISTRIBUTOR_SIZE;
    hv_gic_get_redistributor_base_alignment = WINDOW_ALIGNMENT;
    hv_gic_get_msi_region_size = MSI_SIZE;
    hv_gic_get_msi_region_base_alignment = MSI_ALIGNMENT;
}

/// `hv_gic_get_spi_interrupt_range`.
#[unsafe(no_mangle)]
unsafe extern "C" fn hv_gic_get_spi_interrupt_range(base: *mut u32, count: *mut u32) -> i32 {
    // SAFETY: as the header says.
    unsafe { answer(base, Ok(SPIS.start)).min(answer(count, Ok(SPIS.end - SPIS.start))) }
}

/// `hv_gic_get_intid`.
#[unsafe(no_mangle)]
unsafe extern "C" fn hv_gic_get_intid(interrupt: u32, intid: *mut u32) -> i32 {
    let read = if RESERVED.contains(&interrupt) { Ok(interrupt) } else { Err(Error::BadArgument) };
    // SAFETY: as the header says.
    unsafe { answer(intid, read) }
}
