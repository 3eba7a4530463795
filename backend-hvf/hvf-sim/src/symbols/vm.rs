//! `hv_vm.h`, `hv_vm_config.h`, `hv_vm_allocate.h`, and what of libSystem goes with them.
#![expect(unsafe_code, reason = "C symbols")]

use std::ffi::c_void;

use super::answer;
use crate::{
    error::{self, Error, Result},
    identity::{DEFAULT_ADDRESS_BITS, MAX_ADDRESS_BITS},
    memory,
    object::{self, Object},
    vm::{self, MAX_VCPUS},
};

/// Bytes of a page of the framework's.
const GRANULE: usize = 16 << 10;
/// Fewest bits of a guest-physical address (model).
const MIN_ADDRESS_BITS: u32 = 32;

fn configured_bits(config: *mut c_void) -> Result<u32> {
    match object::read(config)? {
        Object::Vm { address_bits } => Ok(address_bits),
        _ => Err(Error::BadArgument),
    }
}

/// `hv_vm_config_create`.
#[unsafe(no_mangle)]
extern "C" fn hv_vm_config_create() -> *mut c_void {
    object::create(Object::Vm { address_bits: DEFAULT_ADDRESS_BITS })
}

/// `hv_vm_config_get_max_ipa_size`.
#[unsafe(no_mangle)]
unsafe extern "C" fn hv_vm_config_get_max_ipa_size(bits: *mut u32) -> i32 {
    // SAFETY: as the header says.
    unsafe { answer(bits, Ok(MAX_ADDRESS_BITS)) }
}

/// `hv_vm_config_get_default_ipa_size`.
#[unsafe(no_mangle)]
unsafe extern "C" fn hv_vm_config_get_default_ipa_size(bits: *mut u32) -> i32 {
    // SAFETY: as the header says.
    unsafe { answer(bits, Ok(DEFAULT_ADDRESS_BITS)) }
}

/// `hv_vm_config_set_ipa_size`.
#[unsafe(no_mangle)]
extern "C" fn hv_vm_config_set_ipa_size(config: *mut c_void, bits: u32) -> i32 {
    error::code(object::change(config, |object| match object {
        Object::Vm { address_bits } if (MIN_ADDRESS_BITS..=MAX_ADDRESS_BITS).contains(&bits) => {
            *address_bits = bits;
            Ok(())
        }
        _ => Err(Error::BadArgument),
    }))
}

/// `hv_vm_config_get_ipa_size`.
#[unsafe(no_mangle)]
unsafe extern "C" fn hv_vm_config_get_ipa_size(config: *mut c_void, bits: *mut u32) -> i32 {
    // SAFETY: as the header says.
    unsafe { answer(bits, configured_bits(config)) }
}

/// `hv_vm_config_get_el2_supported`: this host has no nested virtualization.
#[unsafe(no_mangle)]
unsafe extern "C" fn hv_vm_config_get_el2_supported(supported: *mut bool) -> i32 {
    // SAFETY: as the header says.
    unsafe { answer(supported, Ok(false)) }
}

/// `hv_vm_config_get_el2_enabled`.
#[unsafe(no_mangle)]
unsafe extern "C" fn hv_vm_config_get_el2_enabled(config: *mut c_void, enabled: *mut bool) -> i32 {
    // SAFETY: as the header says.
    unsafe { answer(enabled, configured_bits(config).map(|_| false)) }
}

/// `hv_vm_config_set_el2_enabled`. Model: `HV_UNSUPPORTED` where there is none.
#[unsafe(no_mangle)]
extern "C" fn hv_vm_config_set_el2_enabled(config: *mut c_void, enabled: bool) -> i32 {
    let allowed = if enabled { Err(Error::Unsupported) } else { Ok(()) };
    error::code(configured_bits(config).and(allowed))
}

/// `hv_vm_create`.
#[unsafe(no_mangle)]
extern "C" fn hv_vm_create(config: *mut c_void) -> i32 {
    let bits = if config.is_null() { Ok(None) } else { configured_bits(config).map(Some) };
    error::code(bits.and_then(vm::create))
}

/// `hv_vm_destroy`.
#[unsafe(no_mangle)]
extern "C" fn hv_vm_destroy() -> i32 {
    error::code(vm::destroy())
}

/// `hv_vm_get_max_vcpu_count`.
#[unsafe(no_mangle)]
unsafe extern "C" fn hv_vm_get_max_vcpu_count(count: *mut u32) -> i32 {
    let most = u32::try_from(MAX_VCPUS).map_err(|_| Error::Failed);
    // SAFETY: as the header says.
    unsafe { answer(count, most) }
}

/// `hv_vm_map`.
#[unsafe(no_mangle)]
unsafe extern "C" fn hv_vm_map(host: *const c_void, address: u64, size: usize, flags: u64) -> i32 {
    error::code(vm::current().and_then(|vm| {
        // SAFETY: as the header says: the caller's memory stays until it is unmapped.
        unsafe { memory::map(&vm, host.cast_mut(), address, size as u64, flags) }
    }))
}

/// `hv_vm_unmap`.
#[unsafe(no_mangle)]
extern "C" fn hv_vm_unmap(address: u64, size: usize) -> i32 {
    error::code(vm::current().and_then(|vm| memory::unmap(&vm, address, size as u64)))
}

/// `hv_vm_protect`.
#[unsafe(no_mangle)]
extern "C" fn hv_vm_protect(address: u64, size: usize, flags: u64) -> i32 {
    error::code(vm::current().and_then(|vm| memory::protect(&vm, address, size as u64, flags)))
}

/// `hv_vm_allocate`: zeroed pages.
#[unsafe(no_mangle)]
unsafe extern "C" fn hv_vm_allocate(place: *mut *mut c_void, size: usize, flags: u32) -> i32 {
    // Header: a multiple of the page size, and the default is the only flag.
    if size == 0 || !(size as u64).is_multiple_of(memory::GRANULE) || flags != 0 {
        return error::code(Err(Error::BadArgument));
    }
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let kind = libc::MAP_PRIVATE | libc::MAP_ANON;
    let granule = GRANULE;
    // SAFETY: new anonymous memory, with room to align it.
    let room = unsafe { libc::mmap(std::ptr::null_mut(), size + granule, protection, kind, -1, 0) };
    if room == libc::MAP_FAILED {
        return error::code(Err(Error::NoResources));
    }
    let before = room.addr().next_multiple_of(granule) - room.addr();
    let memory = room.wrapping_byte_add(before);
    // SAFETY: both are parts of the new memory that nobody has: what is before the aligned part, and what is after.
    unsafe {
        if before > 0 {
            libc::munmap(room, before);
        }
        if before < granule {
            libc::munmap(memory.wrapping_byte_add(size), granule - before);
        }
        answer(place, Ok(memory))
    }
}

/// `hv_vm_deallocate`.
#[unsafe(no_mangle)]
unsafe extern "C" fn hv_vm_deallocate(memory: *const c_void, size: usize) -> i32 {
    let is_aligned = (memory.addr() as u64 | size as u64).is_multiple_of(memory::GRANULE);
    if memory.is_null() || size == 0 || !is_aligned {
        return error::code(Err(Error::BadArgument));
    }
    // SAFETY: as the header says: the caller gives up what hv_vm_allocate returned.
    let unmapped = unsafe { libc::munmap(memory.cast_mut(), size) };
    error::code(if unmapped == 0 { Ok(()) } else { Err(Error::Failed) })
}

/// `os_release` of libSystem, for the framework's objects. A release too many ends the process, as it does on a Mac.
#[unsafe(no_mangle)]
extern "C" fn os_release(object: *mut c_void) {
    if !object::release(object) {
        eprintln!("hvf-sim: os_release of what is no object (any more)");
        std::process::abort();
    }
}

/// `mach_absolute_time` of libSystem: the counter that guests see less their offset (header: `hv_vcpu_set_vtimer_offset`).
#[cfg(not(target_os = "macos"))]
#[unsafe(no_mangle)]
extern "C" fn mach_absolute_time() -> u64 {
    crate::engine::counter()
}

/// `mach_timebase_info` of libSystem: a tick is 125/3 nanoseconds.
#[cfg(not(target_os = "macos"))]
#[unsafe(no_mangle)]
unsafe extern "C" fn mach_timebase_info(info: *mut [u32; 2]) -> i32 {
    // SAFETY: as its header says.
    unsafe { answer(info, Ok([125, 3])) }
}
