//! `hv_vcpu.h`, `hv_vcpu_config.h`.
#![expect(unsafe_code, reason = "C symbols")]

use std::{cell::Cell, ffi::c_void, ptr, slice};

use super::answer;
use crate::{
    error::{self, Error, Result},
    identity,
    object::{self, Object},
    run::{self, Exit},
    system_registers,
    vcpu::{self, Vcpu},
    vm,
};

/// `hv_vcpu_exit_t`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
struct Record {
    /// `hv_exit_reason_t`.
    reason: u32,
    syndrome: u64,
    virtual_address: u64,
    physical_address: u64,
}

const NO_EXIT: Record = Record { reason: 3, syndrome: 0, virtual_address: 0, physical_address: 0 };

thread_local! {
    /// Where the thread's vCPU tells of its exits. Every vCPU has its own; they are never freed, since callers may look late.
    static RECORD: Cell<*mut Record> = const { Cell::new(ptr::null_mut()) };
}

/// `hv_reg_t` after X0 to X30.
const PC: u32 = 31;
const FPCR: u32 = 32;
const FPSR: u32 = 33;
const CPSR: u32 = 34;

fn is_vcpu_config(config: *mut c_void) -> Result<()> {
    match object::read(config)? {
        Object::Vcpu => Ok(()),
        _ => Err(Error::BadArgument),
    }
}

/// `hv_vcpu_config_create`.
#[unsafe(no_mangle)]
extern "C" fn hv_vcpu_config_create() -> *mut c_void {
    object::create(Object::Vcpu)
}

/// `hv_vcpu_config_get_feature_reg`. Works without a VM (header: it says nothing of one); then a processor is made for it.
#[unsafe(no_mangle)]
unsafe extern "C" fn hv_vcpu_config_get_feature_reg(
    config: *mut c_void,
    register: u32,
    value: *mut u64,
) -> i32 {
    let read = is_vcpu_config(config).and_then(|()| {
        let found = vm::with_processor(|processor| identity::feature(processor, register))?;
        found.ok_or(Error::BadArgument)
    });
    // SAFETY: as the header says.
    unsafe { answer(value, read) }
}

/// `hv_vcpu_create`.
#[unsafe(no_mangle)]
unsafe extern "C" fn hv_vcpu_create(id: *mut u64, exit: *mut *const Record, config: *mut c_void) -> i32 {
    if id.is_null() || exit.is_null() {
        return error::code(Err(Error::BadArgument));
    }
    let checked = if config.is_null() { Ok(()) } else { is_vcpu_config(config) };
    let made = checked.and_then(|()| vcpu::create());
    if made.is_ok() {
        let record = Box::into_raw(Box::new(NO_EXIT));
        RECORD.set(record);
        // SAFETY: not NULL, and valid as the header says.
        unsafe { exit.write(record) };
    }
    // SAFETY: as the header says.
    unsafe { answer(id, made) }
}

/// `hv_vcpu_destroy`.
#[unsafe(no_mangle)]
extern "C" fn hv_vcpu_destroy(id: u64) -> i32 {
    error::code(vcpu::destroy(id))
}

/// `hv_vcpu_run`.
#[unsafe(no_mangle)]
extern "C" fn hv_vcpu_run(id: u64) -> i32 {
    error::code(vcpu::with(id, run::run).map(|exit| {
        let record = match exit {
            Exit::Canceled => Record { reason: 0, ..NO_EXIT },
            Exit::Exception(exception) => Record {
                reason: 1,
                syndrome: exception.syndrome,
                virtual_address: exception.virtual_address,
                physical_address: exception.physical_address,
            },
            Exit::VirtualTimer => Record { reason: 2, ..NO_EXIT },
            Exit::Unknown => NO_EXIT,
        };
        // SAFETY: set when this thread's vCPU was made, and never freed. Only this thread writes it.
        unsafe { RECORD.get().write(record) };
    }))
}

/// `hv_vcpus_exit`.
#[unsafe(no_mangle)]
unsafe extern "C" fn hv_vcpus_exit(ids: *const u64, count: u32) -> i32 {
    let ids = if ids.is_null() || count == 0 {
        &[]
    } else {
        // SAFETY: as the header says: an array of `count`.
        unsafe { slice::from_raw_parts(ids, count as usize) }
    };
    error::code(vcpu::exit(ids))
}

/// `hv_vcpu_get_pending_interrupt`.
#[unsafe(no_mangle)]
unsafe extern "C" fn hv_vcpu_get_pending_interrupt(id: u64, kind: u32, pending: *mut bool) -> i32 {
    let read = vcpu::with(id, |vcpu| vcpu.pending.get(line(kind)).copied().ok_or(Error::BadArgument));
    // SAFETY: as the header says.
    unsafe { answer(pending, read) }
}

/// `hv_vcpu_set_pending_interrupt`.
#[unsafe(no_mangle)]
extern "C" fn hv_vcpu_set_pending_interrupt(id: u64, kind: u32, pending: bool) -> i32 {
    error::code(vcpu::with(id, |vcpu| {
        *vcpu.pending.get_mut(line(kind)).ok_or(Error::BadArgument)? = pending;
        Ok(())
    }))
}

/// The place of an `hv_interrupt_type_t` (FIQ 0, IRQ 1) in [`Vcpu::pending`].
fn line(kind: u32) -> usize {
    match kind {
        0 => 1,
        1 => 0,
        _ => usize::MAX,
    }
}

/// `hv_vcpu_get_exec_time`.
#[unsafe(no_mangle)]
unsafe extern "C" fn hv_vcpu_get_exec_time(id: u64, time: *mut u64) -> i32 {
    let read = vcpu::with(id, |vcpu| u64::try_from(vcpu.time.as_nanos()).map_err(|_| Error::Failed));
    // SAFETY: as the header says.
    unsafe { answer(time, read) }
}

/// `hv_vcpu_get_reg`.
#[unsafe(no_mangle)]
unsafe extern "C" fn hv_vcpu_get_reg(id: u64, register: u32, value: *mut u64) -> i32 {
    let read = vcpu::with(id, |vcpu| {
        let context = &vcpu.context;
        Ok(match register {
            0..PC => context.x(register),
            PC => context.pc(),
            FPCR => context.fpcr(),
            FPSR => context.fpsr(),
            CPSR => context.pstate(),
            _ => return Err(Error::BadArgument),
        })
    });
    // SAFETY: as the header says.
    unsafe { answer(value, read) }
}

/// `hv_vcpu_set_reg`.
#[unsafe(no_mangle)]
extern "C" fn hv_vcpu_set_reg(id: u64, register: u32, value: u64) -> i32 {
    let low = u32::try_from(value & 0xffff_ffff).unwrap_or(0);
    error::code(vcpu::with(id, |vcpu| {
        let context = &mut vcpu.context;
        match register {
            0..PC => context.set_x(register, value),
            PC => context.set_pc(value),
            FPCR => context.set_fpcr(low),
            FPSR => context.set_fpsr(low),
            // Model: EL0 and EL1 in AArch64 (M[4] clear, EL in M[3:2] at most 1).
            CPSR if value & 0x1a == 0 && value & 0xf != 1 => context.set_pstate(value),
            _ => return Err(Error::BadArgument),
        }
        Ok(())
    }))
}

/// `hv_vcpu_get_simd_fp_reg`.
#[unsafe(no_mangle)]
unsafe extern "C" fn hv_vcpu_get_simd_fp_reg(id: u64, register: u32, value: *mut u128) -> i32 {
    let read = vcpu::with(id, |vcpu| {
        if register < 32 { Ok(vcpu.context.vector(register)) } else { Err(Error::BadArgument) }
    });
    // SAFETY: as the header says.
    unsafe { answer(value, read) }
}

/// `hv_vcpu_set_simd_fp_reg`. Takes the value as Rust passes a `u128`, which is what applevisor-sys declares; a Mac takes it in a
/// vector register.
#[unsafe(no_mangle)]
extern "C" fn hv_vcpu_set_simd_fp_reg(id: u64, register: u32, value: u128) -> i32 {
    error::code(vcpu::with(id, |vcpu| {
        if register >= 32 {
            return Err(Error::BadArgument);
        }
        vcpu.context.set_vector(register, value);
        Ok(())
    }))
}

/// `hv_vcpu_get_sys_reg`. (`hv_sys_reg_t` has 16 bits in C, so that the rest of what applevisor-sys passes is not looked at.)
#[unsafe(no_mangle)]
unsafe extern "C" fn hv_vcpu_get_sys_reg(id: u64, register: u16, value: *mut u64) -> i32 {
    let read = vcpu::with(id, |vcpu| system_registers::read(vcpu, register));
    // SAFETY: as the header says.
    unsafe { answer(value, read) }
}

/// `hv_vcpu_set_sys_reg`.
#[unsafe(no_mangle)]
extern "C" fn hv_vcpu_set_sys_reg(id: u64, register: u16, value: u64) -> i32 {
    error::code(vcpu::with(id, |vcpu| system_registers::write(vcpu, register, value)))
}

/// A flag of a vCPU's.
unsafe fn flag(id: u64, place: *mut bool, read: impl FnOnce(&Vcpu) -> bool) -> i32 {
    // SAFETY: as the caller says.
    unsafe { answer(place, vcpu::with(id, |vcpu| Ok(read(vcpu)))) }
}

/// `hv_vcpu_get_trap_debug_exceptions`.
#[unsafe(no_mangle)]
unsafe extern "C" fn hv_vcpu_get_trap_debug_exceptions(id: u64, value: *mut bool) -> i32 {
    // SAFETY: as the header says.
    unsafe { flag(id, value, |vcpu| vcpu.trap_debug_exceptions) }
}

/// `hv_vcpu_set_trap_debug_exceptions`.
#[unsafe(no_mangle)]
extern "C" fn hv_vcpu_set_trap_debug_exceptions(id: u64, value: bool) -> i32 {
    error::code(vcpu::with(id, |vcpu| {
        vcpu.trap_debug_exceptions = value;
        vcpu.set_debug_traps();
        Ok(())
    }))
}

/// `hv_vcpu_get_trap_debug_reg_accesses`.
#[unsafe(no_mangle)]
unsafe extern "C" fn hv_vcpu_get_trap_debug_reg_accesses(id: u64, value: *mut bool) -> i32 {
    // SAFETY: as the header says.
    unsafe { flag(id, value, |vcpu| vcpu.trap_debug_registers) }
}

/// `hv_vcpu_set_trap_debug_reg_accesses`.
#[unsafe(no_mangle)]
extern "C" fn hv_vcpu_set_trap_debug_reg_accesses(id: u64, value: bool) -> i32 {
    error::code(vcpu::with(id, |vcpu| {
        vcpu.trap_debug_registers = value;
        vcpu.set_debug_traps();
        Ok(())
    }))
}

/// `hv_vcpu_get_vtimer_mask`.
#[unsafe(no_mangle)]
unsafe extern "C" fn hv_vcpu_get_vtimer_mask(id: u64, value: *mut bool) -> i32 {
    // SAFETY: as the header says.
    unsafe { flag(id, value, |vcpu| vcpu.timer_masked) }
}

/// `hv_vcpu_set_vtimer_mask`.
#[unsafe(no_mangle)]
extern "C" fn hv_vcpu_set_vtimer_mask(id: u64, masked: bool) -> i32 {
    error::code(vcpu::with(id, |vcpu| {
        vcpu.timer_masked = masked;
        Ok(())
    }))
}

/// `hv_vcpu_get_vtimer_offset`.
#[unsafe(no_mangle)]
unsafe extern "C" fn hv_vcpu_get_vtimer_offset(id: u64, offset: *mut u64) -> i32 {
    // SAFETY: as the header says.
    unsafe { answer(offset, vcpu::with(id, |vcpu| Ok(vcpu.context.timer().offset))) }
}

/// `hv_vcpu_set_vtimer_offset`.
#[unsafe(no_mangle)]
extern "C" fn hv_vcpu_set_vtimer_offset(id: u64, offset: u64) -> i32 {
    error::code(vcpu::with(id, |vcpu| {
        let mut timer = vcpu.context.timer();
        timer.offset = offset;
        vcpu.context.set_timer(&timer);
        Ok(())
    }))
}
