//! The framework's calls, as applevisor-sys declares them, with errors as `Result`.
#![expect(unsafe_code, reason = "calls C")]

use std::{ffi::c_void, ptr};

use applevisor_sys as sys;
pub(crate) use applevisor_sys::{
    hv_gic_icc_reg_t as Icc, hv_gic_redistributor_reg_t as Redistributor, hv_interrupt_type_t as Interrupt,
    hv_reg_t as Reg, hv_sys_reg_t as Sys,
};

pub(crate) const BUSY: u32 = 0xfae9_4002;
pub(crate) const BAD_ARGUMENT: u32 = 0xfae9_4003;
pub(crate) const ILLEGAL_GUEST_STATE: u32 = 0xfae9_4004;
pub(crate) const NO_DEVICE: u32 = 0xfae9_4006;
pub(crate) const UNSUPPORTED: u32 = 0xfae9_400f;

pub(crate) type Result<T> = std::result::Result<T, u32>;

fn check(code: i32) -> Result<()> {
    if code == 0 { Ok(()) } else { Err(code.cast_unsigned()) }
}

/// An exit as the framework tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    Canceled,
    VirtualTimer,
    Exception { class: u64, iss: u64, address: u64 },
    Unknown,
}

macro_rules! values {
    ($($name:ident($($argument:ident: $kind:ty),*) -> $value:ty = $call:ident;)*) => {$(
        pub(crate) fn $name($($argument: $kind),*) -> Result<$value> {
            let mut value = <$value>::default();
            // SAFETY: the framework writes one value.
            check(unsafe { sys::$call($($argument,)* &raw mut value) }).map(|()| value)
        }
    )*};
}

macro_rules! orders {
    ($($name:ident($($argument:ident: $kind:ty),*) = $call:ident;)*) => {$(
        pub(crate) fn $name($($argument: $kind),*) -> Result<()> {
            // SAFETY: plain values.
            check(unsafe { sys::$call($($argument),*) })
        }
    )*};
}

values! {
    reg(id: u64, register: Reg) -> u64 = hv_vcpu_get_reg;
    sys_reg(id: u64, register: Sys) -> u64 = hv_vcpu_get_sys_reg;
    vector(id: u64, register: sys::hv_simd_fp_reg_t) -> u128 = hv_vcpu_get_simd_fp_reg;
    pending(id: u64, kind: Interrupt) -> bool = hv_vcpu_get_pending_interrupt;
    timer_mask(id: u64) -> bool = hv_vcpu_get_vtimer_mask;
    timer_offset(id: u64) -> u64 = hv_vcpu_get_vtimer_offset;
    exec_time(id: u64) -> u64 = hv_vcpu_get_exec_time;
    max_address_bits() -> u32 = hv_vm_config_get_max_ipa_size;
    el2_supported() -> bool = hv_vm_config_get_el2_supported;
    redistributor_base(id: u64) -> u64 = hv_gic_get_redistributor_base;
    redistributor(id: u64, register: Redistributor) -> u64 = hv_gic_get_redistributor_reg;
    icc(id: u64, register: Icc) -> u64 = hv_gic_get_icc_reg;
    distributor(register: sys::hv_gic_distributor_reg_t) -> u64 = hv_gic_get_distributor_reg;
    msi_reg(register: sys::hv_gic_msi_reg_t) -> u64 = hv_gic_get_msi_reg;
}

orders! {
    set_reg(id: u64, register: Reg, value: u64) = hv_vcpu_set_reg;
    set_sys_reg(id: u64, register: Sys, value: u64) = hv_vcpu_set_sys_reg;
    set_vector(id: u64, register: sys::hv_simd_fp_reg_t, value: u128) = hv_vcpu_set_simd_fp_reg;
    set_pending(id: u64, kind: Interrupt, pending: bool) = hv_vcpu_set_pending_interrupt;
    set_timer_mask(id: u64, masked: bool) = hv_vcpu_set_vtimer_mask;
    set_timer_offset(id: u64, offset: u64) = hv_vcpu_set_vtimer_offset;
    set_trap_debug_registers(id: u64, trap: bool) = hv_vcpu_set_trap_debug_reg_accesses;
    destroy_vcpu(id: u64) = hv_vcpu_destroy;
    destroy_vm() = hv_vm_destroy;
    unmap(address: u64, size: usize) = hv_vm_unmap;
    protect(address: u64, size: usize, flags: u64) = hv_vm_protect;
    set_spi(intid: u32, level: bool) = hv_gic_set_spi;
    send_msi(address: u64, intid: u32) = hv_gic_send_msi;
    reset_gic() = hv_gic_reset;
    set_redistributor(id: u64, register: Redistributor, value: u64) = hv_gic_set_redistributor_reg;
    set_icc(id: u64, register: Icc, value: u64) = hv_gic_set_icc_reg;
    set_distributor(register: sys::hv_gic_distributor_reg_t, value: u64) = hv_gic_set_distributor_reg;
}

/// The host's counter.
pub(crate) fn counter() -> u64 {
    unsafe extern "C" {
        safe fn mach_absolute_time() -> u64;
    }
    mach_absolute_time()
}

pub(crate) fn create_vm(bits: Option<u32>) -> Result<()> {
    // SAFETY: plain values, and an object that is given back.
    unsafe {
        let config = sys::hv_vm_config_create();
        let set = bits.map_or(0, |bits| sys::hv_vm_config_set_ipa_size(config, bits));
        let created = check(set).and_then(|()| check(sys::hv_vm_create(config)));
        sys::os_release(config);
        created
    }
}

pub(crate) fn enable_el2() -> Result<()> {
    // SAFETY: plain values, and an object that is given back.
    unsafe {
        let config = sys::hv_vm_config_create();
        let set = sys::hv_vm_config_set_el2_enabled(config, true);
        sys::os_release(config);
        check(set)
    }
}

pub(crate) fn create_gic(distributor: u64, redistributors: u64, frame: u64) -> Result<()> {
    // SAFETY: plain values, and an object that is given back.
    unsafe {
        let config = sys::hv_gic_config_create();
        if config.is_null() {
            return Err(NO_DEVICE);
        }
        let steps = [
            sys::hv_gic_config_set_distributor_base(config, distributor),
            sys::hv_gic_config_set_redistributor_base(config, redistributors),
            sys::hv_gic_config_set_msi_region_base(config, frame),
            sys::hv_gic_config_set_msi_interrupt_range(config, 128, 512),
        ];
        let set = steps.into_iter().try_for_each(check);
        let created = set.and_then(|()| check(sys::hv_gic_create(config)));
        sys::os_release(config);
        created
    }
}

pub(crate) fn feature(register: sys::hv_feature_reg_t) -> Result<u64> {
    let mut value = 0;
    // SAFETY: one value is written, and the object is given back.
    unsafe {
        let config = sys::hv_vcpu_config_create();
        let read = sys::hv_vcpu_config_get_feature_reg(config, register, &raw mut value);
        sys::os_release(config);
        check(read).map(|()| value)
    }
}

/// A vCPU of this thread, and where it tells of exits.
#[derive(Debug)]
pub(crate) struct Vcpu {
    pub(crate) id: u64,
    exit: *const sys::hv_vcpu_exit_t,
}

impl Vcpu {
    pub(crate) fn create() -> Result<Self> {
        let (mut id, mut exit) = (0, ptr::null());
        // SAFETY: both places are valid.
        let created = unsafe { sys::hv_vcpu_create(&raw mut id, &raw mut exit, ptr::null_mut()) };
        check(created).map(|()| Self { id, exit })
    }

    pub(crate) fn run(&self) -> Result<Exit> {
        // SAFETY: a plain value. The record is there and written by the call alone; its reason is read as a number.
        let record = unsafe {
            check(sys::hv_vcpu_run(self.id))?;
            let reason = self.exit.cast::<u32>().read();
            let exception = (*self.exit).exception;
            (reason, exception)
        };
        Ok(match record {
            (0, _) => Exit::Canceled,
            (1, exception) => Exit::Exception {
                class: exception.syndrome >> 26,
                iss: exception.syndrome & 0x1ff_ffff,
                address: exception.physical_address,
            },
            (2, _) => Exit::VirtualTimer,
            _ => Exit::Unknown,
        })
    }
}

pub(crate) fn exit_vcpus(ids: &[u64]) -> Result<()> {
    let start = if ids.is_empty() { ptr::null() } else { ids.as_ptr() };
    // SAFETY: an array and its length.
    check(unsafe { sys::hv_vcpus_exit(start, u32::try_from(ids.len()).unwrap_or(0)) })
}

/// Pages of `hv_vm_allocate`, given back at the end.
#[derive(Debug)]
pub(crate) struct Pages {
    memory: *mut c_void,
    size: usize,
}

// SAFETY: nothing in it belongs to a thread.
unsafe impl Send for Pages {}
// SAFETY: words are read and written atomically.
unsafe impl Sync for Pages {}

impl Pages {
    pub(crate) fn allocate(size: usize) -> Result<Self> {
        let mut memory = ptr::null_mut();
        let default = sys::hv_allocate_flags_t::HV_ALLOCATE_DEFAULT;
        // SAFETY: the place is valid.
        check(unsafe { sys::hv_vm_allocate(&raw mut memory, size, default) }).map(|()| Self { memory, size })
    }

    /// Maps what is behind `skip` bytes.
    pub(crate) fn map(&self, skip: usize, address: u64, size: usize, flags: u64) -> Result<()> {
        // SAFETY: the pages stay until the VM is gone, which tests see to.
        check(unsafe { sys::hv_vm_map(self.memory.wrapping_byte_add(skip), address, size, flags) })
    }

    fn word(&self, offset: usize) -> &std::sync::atomic::AtomicU32 {
        assert!(offset + 4 <= self.size && offset.is_multiple_of(4));
        // SAFETY: inside of the pages, aligned, and read and written atomically by all but the guest.
        unsafe { &*self.memory.cast::<std::sync::atomic::AtomicU32>().byte_add(offset) }
    }

    pub(crate) fn write(&self, offset: usize, words: &[u32]) {
        for (place, word) in (offset..).step_by(4).zip(words) {
            self.word(place).store(*word, std::sync::atomic::Ordering::SeqCst);
        }
    }

    pub(crate) fn read(&self, offset: usize) -> u32 {
        self.word(offset).load(std::sync::atomic::Ordering::SeqCst)
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: allocated with this size, and no VM has it any more.
        assert_eq!(check(unsafe { sys::hv_vm_deallocate(self.memory, self.size) }), Ok(()));
    }
}

/// `hv_gic_state_create` and its data.
pub(crate) fn gic_state() -> Option<Vec<u8>> {
    // SAFETY: the object is given back; the buffer is as large as the framework says.
    unsafe {
        let state = sys::hv_gic_state_create();
        if state.is_null() {
            return None;
        }
        let mut size = 0;
        let told = sys::hv_gic_state_get_size(state, &raw mut size);
        let mut data = vec![0_u8; size];
        let read = sys::hv_gic_state_get_data(state, data.as_mut_ptr().cast());
        sys::os_release(state);
        (told == 0 && read == 0).then_some(data)
    }
}

pub(crate) fn set_gic_state(state: &[u8]) -> Result<()> {
    // SAFETY: a buffer and its length.
    check(unsafe { sys::hv_gic_set_state(state.as_ptr().cast(), state.len()) })
}
