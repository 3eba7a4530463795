//! The processor of `engine.c`, and the state of vCPUs that are not on it.
#![expect(unsafe_code, reason = "calls C")]

use std::{
    ffi::{c_int, c_void},
    marker::PhantomData,
    ptr::NonNull,
    slice,
    sync::atomic::AtomicU64,
};

// It links Unicorn.
use unicorn_engine_sys as _;

use crate::error::{Error, Result};

/// Ticks of the counter in a second (an Apple processor's).
pub(crate) const COUNTER_FREQUENCY: u64 = 24_000_000;
/// Guest-physical address of the stage-2 tables, above all that a guest can name.
pub(crate) const TABLES: u64 = 1 << 41;
/// Room for them: 65,536 tables, enough for 128 GiB in pages.
const TABLES_SIZE: usize = 256 << 20;

/// What ended a stay in the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leave {
    Stopped,
    Exception(Exception),
    /// Unicorn's error.
    Broken(u64),
}

/// An exception to EL2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Exception {
    pub(crate) syndrome: u64,
    pub(crate) virtual_address: u64,
    pub(crate) physical_address: u64,
}

/// The virtual timer's registers.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Timer {
    /// `CNTV_CTL_EL0`.
    pub(crate) control: u64,
    /// `CNTV_CVAL_EL0`.
    pub(crate) compare: u64,
    /// What the virtual counter lags behind the host's.
    pub(crate) offset: u64,
}

#[repr(C)]
struct RawContext {
    private: [u8; 0],
}

#[repr(C)]
#[derive(Default)]
struct RawExit {
    kind: u32,
    padding: u32,
    syndrome: u64,
    virtual_address: u64,
    physical_address: u64,
}

unsafe extern "C" {
    fn hvf_sim_open(tables: u64, host: *mut c_void, size: u64) -> c_int;
    fn hvf_sim_close();
    fn hvf_sim_stop();
    fn hvf_sim_clear_stop();
    fn hvf_sim_map(address: u64, host: *mut c_void, size: u64) -> c_int;
    fn hvf_sim_unmap(address: u64, size: u64) -> c_int;
    fn hvf_sim_flush_translations();
    fn hvf_sim_flush_code();
    safe fn hvf_sim_counter() -> u64;
    fn hvf_sim_constant(number: u32) -> u64;
    fn hvf_sim_context(tables: u64, bits: u32) -> *mut RawContext;
    fn hvf_sim_free(context: *mut RawContext);
    fn hvf_sim_load(context: *mut RawContext, flush: c_int);
    fn hvf_sim_run(context: *mut RawContext, irq: c_int, fiq: c_int, exit: *mut RawExit);
    fn hvf_sim_x(context: *mut RawContext, number: u32) -> u64;
    fn hvf_sim_set_x(context: *mut RawContext, number: u32, value: u64);
    fn hvf_sim_pc(context: *mut RawContext) -> u64;
    fn hvf_sim_set_pc(context: *mut RawContext, value: u64);
    fn hvf_sim_pstate(context: *mut RawContext) -> u64;
    fn hvf_sim_set_pstate(context: *mut RawContext, value: u64);
    fn hvf_sim_stack(context: *mut RawContext, el: u32) -> u64;
    fn hvf_sim_set_stack(context: *mut RawContext, el: u32, value: u64);
    fn hvf_sim_fpcr(context: *mut RawContext) -> u32;
    fn hvf_sim_set_fpcr(context: *mut RawContext, value: u32);
    fn hvf_sim_fpsr(context: *mut RawContext) -> u32;
    fn hvf_sim_set_fpsr(context: *mut RawContext, value: u32);
    fn hvf_sim_vector(context: *mut RawContext, number: u32, value: *mut c_void);
    fn hvf_sim_set_vector(context: *mut RawContext, number: u32, value: *const c_void);
    fn hvf_sim_id(context: *mut RawContext, index: u32) -> *mut u64;
    fn hvf_sim_system(context: *mut RawContext, number: u32, value: *mut u64) -> c_int;
    fn hvf_sim_set_system(context: *mut RawContext, number: u32, value: u64) -> c_int;
    fn hvf_sim_set_affinity(context: *mut RawContext, mpidr: u64);
    fn hvf_sim_set_main(context: *mut RawContext, midr: u64);
    fn hvf_sim_trap_debug(context: *mut RawContext, registers: c_int, exceptions: c_int);
    fn hvf_sim_timer(context: *mut RawContext, timer: *mut Timer);
    fn hvf_sim_set_timer(context: *mut RawContext, timer: *const Timer);
}

/// The host's counter.
pub(crate) fn counter() -> u64 {
    hvf_sim_counter()
}

/// The processor. There is one, and this is the right to use it: at a time only who has the turn calls it.
#[derive(Debug)]
pub(crate) struct Processor {
    tables: NonNull<c_void>,
}

// SAFETY: nothing in it belongs to a thread.
unsafe impl Send for Processor {}
// SAFETY: it is reached through `Turns` alone, which hands it to one thread at a time.
unsafe impl Sync for Processor {}

impl Processor {
    /// Brings the processor up. The caller sees to it that there is one at a time.
    pub(crate) fn open() -> Result<Self> {
        // SAFETY: a new anonymous mapping, which touches no other memory. Pages come when they are used.
        let memory = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                TABLES_SIZE,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANON | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        if memory == libc::MAP_FAILED {
            return Err(Error::NoResources);
        }
        let tables = NonNull::new(memory).ok_or(Error::NoResources)?;
        // SAFETY: there is no other processor, and the mapping lives until it is closed.
        if unsafe { hvf_sim_open(TABLES, memory, TABLES_SIZE as u64) } != 0 {
            // SAFETY: the mapping is ours and nobody has it.
            unsafe { libc::munmap(memory, TABLES_SIZE) };
            return Err(Error::NoResources);
        }
        Ok(Self { tables })
    }

    /// The words of the stage-2 tables, which the processor reads while it runs.
    pub(crate) fn tables(&self) -> &[AtomicU64] {
        // SAFETY: the mapping is as large, aligned to pages, and lives as long as this.
        unsafe { slice::from_raw_parts(self.tables.as_ptr().cast::<AtomicU64>(), TABLES_SIZE / 8) }
    }

    /// Puts host memory at a guest-physical address.
    ///
    /// # Safety
    /// The memory is there until it is unmapped or the processor is gone, and may be written at any time.
    pub(crate) unsafe fn map(&self, address: u64, host: *mut c_void, size: u64) -> Result<()> {
        // SAFETY: the processor is open, and the caller vouches for the memory.
        if unsafe { hvf_sim_map(address, host, size) } == 0 { Ok(()) } else { Err(Error::Failed) }
    }

    pub(crate) fn unmap(&self, address: u64, size: u64) -> Result<()> {
        // SAFETY: the processor is open.
        if unsafe { hvf_sim_unmap(address, size) } == 0 { Ok(()) } else { Err(Error::Failed) }
    }

    /// Stage-2 tables have changed.
    pub(crate) fn flush_translations(&self) {
        // SAFETY: the processor is open.
        unsafe { hvf_sim_flush_translations() };
    }

    /// A constant of the processor model, by `hv_sys_reg_t`.
    pub(crate) fn constant(&self, register: u16) -> u64 {
        // SAFETY: the processor is open.
        unsafe { hvf_sim_constant(register.into()) }
    }

    /// A vCPU at power-on, with guest-physical addresses of `bits`.
    pub(crate) fn context(&self, bits: u32) -> Result<Context> {
        // SAFETY: the processor is open and idle.
        let raw = unsafe { hvf_sim_context(TABLES, bits) };
        let raw = NonNull::new(raw).ok_or(Error::NoResources)?;
        Ok(Context {
            raw,
            changed: true,
            translation_changed: true,
            code_changed: true,
            not_sync: PhantomData,
        })
    }

    /// Forgets a vCPU.
    pub(crate) fn free(&self, context: &mut Context) {
        // SAFETY: the context is live, and its owner lets it go here and nowhere else.
        unsafe { hvf_sim_free(context.raw.as_ptr()) };
    }

    /// Puts the vCPU on the processor. `same`: it was the last one there.
    pub(crate) fn load(&self, context: &mut Context, same: bool) {
        if std::mem::take(&mut context.code_changed) {
            // SAFETY: the processor is open and idle.
            unsafe { hvf_sim_flush_code() };
        }
        let flush = std::mem::take(&mut context.translation_changed);
        if std::mem::take(&mut context.changed) || !same {
            // SAFETY: the context is live, the processor open and idle.
            unsafe { hvf_sim_load(context.raw.as_ptr(), flush.into()) };
        }
    }

    /// Runs the vCPU that is loaded.
    pub(crate) fn run(&self, context: &mut Context, irq: bool, fiq: bool) -> Leave {
        let mut exit = RawExit::default();
        // SAFETY: the context is live and loaded; `exit` is written before the call returns.
        unsafe { hvf_sim_run(context.raw.as_ptr(), irq.into(), fiq.into(), &raw mut exit) };
        let RawExit { kind, syndrome, virtual_address, physical_address, .. } = exit;
        match kind {
            0 => Leave::Stopped,
            1 => Leave::Exception(Exception { syndrome, virtual_address, physical_address }),
            _ => Leave::Broken(syndrome),
        }
    }
}

impl Drop for Processor {
    fn drop(&mut self) {
        // SAFETY: the processor is open, and nobody uses it or its tables any more.
        unsafe {
            hvf_sim_close();
            libc::munmap(self.tables.as_ptr(), TABLES_SIZE);
        }
    }
}

/// Makes the processor leave the guest at the next block of code.
///
/// # Safety
/// The processor is open.
pub(crate) unsafe fn stop() {
    // SAFETY: as the caller says. It only sets flags.
    unsafe { hvf_sim_stop() };
}

/// Takes back a [`stop`].
///
/// # Safety
/// The processor is open.
pub(crate) unsafe fn clear_stop() {
    // SAFETY: as the caller says. It only clears a flag.
    unsafe { hvf_sim_clear_stop() };
}

/// A vCPU's registers while it is not on the processor.
#[derive(Debug)]
pub(crate) struct Context {
    raw: NonNull<RawContext>,
    changed: bool,
    translation_changed: bool,
    code_changed: bool,
    not_sync: PhantomData<*mut ()>,
}

// SAFETY of all blocks below: `raw` is live from `Processor::context` to `Processor::free`, which its owner calls last; this
// has it alone (`&mut` for what changes); numbers are masked to what the arrays have.
#[expect(clippy::undocumented_unsafe_blocks, reason = "one reason for all, above")]
impl Context {
    pub(crate) fn x(&self, number: u32) -> u64 {
        if number > 30 { 0 } else { unsafe { hvf_sim_x(self.raw.as_ptr(), number) } }
    }

    /// Writes X0 to X30; 31 is XZR.
    pub(crate) fn set_x(&mut self, number: u32, value: u64) {
        if number <= 30 {
            self.changed = true;
            unsafe { hvf_sim_set_x(self.raw.as_ptr(), number, value) };
        }
    }

    pub(crate) fn pc(&self) -> u64 {
        unsafe { hvf_sim_pc(self.raw.as_ptr()) }
    }

    pub(crate) fn set_pc(&mut self, value: u64) {
        let pc = self.pc();
        // Model: who sends a vCPU elsewhere has written code there, and code that is translated already is stale.
        self.code_changed |= value != pc && value != pc.wrapping_add(4);
        self.changed = true;
        unsafe { hvf_sim_set_pc(self.raw.as_ptr(), value) };
    }

    /// Moves PC past an instruction.
    pub(crate) fn advance(&mut self) {
        self.set_pc(self.pc().wrapping_add(4));
    }

    pub(crate) fn pstate(&self) -> u64 {
        unsafe { hvf_sim_pstate(self.raw.as_ptr()) }
    }

    pub(crate) fn set_pstate(&mut self, value: u64) {
        self.changed = true;
        unsafe { hvf_sim_set_pstate(self.raw.as_ptr(), value) };
    }

    /// `SP_EL0` or `SP_EL1`.
    pub(crate) fn stack(&self, el: u32) -> u64 {
        unsafe { hvf_sim_stack(self.raw.as_ptr(), el & 1) }
    }

    pub(crate) fn set_stack(&mut self, el: u32, value: u64) {
        self.changed = true;
        unsafe { hvf_sim_set_stack(self.raw.as_ptr(), el & 1, value) };
    }

    pub(crate) fn fpcr(&self) -> u64 {
        unsafe { hvf_sim_fpcr(self.raw.as_ptr()) }.into()
    }

    pub(crate) fn set_fpcr(&mut self, value: u32) {
        self.changed = true;
        unsafe { hvf_sim_set_fpcr(self.raw.as_ptr(), value) };
    }

    pub(crate) fn fpsr(&self) -> u64 {
        unsafe { hvf_sim_fpsr(self.raw.as_ptr()) }.into()
    }

    pub(crate) fn set_fpsr(&mut self, value: u32) {
        self.changed = true;
        unsafe { hvf_sim_set_fpsr(self.raw.as_ptr(), value) };
    }

    pub(crate) fn vector(&self, number: u32) -> u128 {
        let mut value = [0; 16];
        unsafe { hvf_sim_vector(self.raw.as_ptr(), number & 31, value.as_mut_ptr().cast()) };
        u128::from_le_bytes(value)
    }

    pub(crate) fn set_vector(&mut self, number: u32, value: u128) {
        self.changed = true;
        let value = value.to_le_bytes();
        unsafe { hvf_sim_set_vector(self.raw.as_ptr(), number & 31, value.as_ptr().cast()) };
    }

    /// An ID register, by its number in [`identity`](crate::identity).
    pub(crate) fn id(&self, index: u32) -> u64 {
        unsafe { *hvf_sim_id(self.raw.as_ptr(), index) }
    }

    pub(crate) fn set_id(&mut self, index: u32, value: u64) {
        // The guest reads it where it is, so that nothing is to be loaded.
        unsafe { *hvf_sim_id(self.raw.as_ptr(), index) = value };
    }

    /// A system register that has a field in the processor's state.
    pub(crate) fn system(&self, register: u16) -> Option<u64> {
        let mut value = 0;
        let found = unsafe { hvf_sim_system(self.raw.as_ptr(), register.into(), &raw mut value) };
        (found != 0).then_some(value)
    }

    /// Answers whether the register has a field.
    pub(crate) fn set_system(&mut self, register: u16, value: u64) -> bool {
        self.changed = true;
        self.translation_changed = true;
        unsafe { hvf_sim_set_system(self.raw.as_ptr(), register.into(), value) != 0 }
    }

    pub(crate) fn set_affinity(&mut self, mpidr: u64) {
        self.changed = true;
        unsafe { hvf_sim_set_affinity(self.raw.as_ptr(), mpidr) };
    }

    pub(crate) fn set_main_id(&mut self, midr: u64) {
        self.changed = true;
        unsafe { hvf_sim_set_main(self.raw.as_ptr(), midr) };
    }

    pub(crate) fn trap_debug(&mut self, registers: bool, exceptions: bool) {
        self.changed = true;
        unsafe { hvf_sim_trap_debug(self.raw.as_ptr(), registers.into(), exceptions.into()) };
    }

    pub(crate) fn timer(&self) -> Timer {
        let mut timer = Timer::default();
        unsafe { hvf_sim_timer(self.raw.as_ptr(), &raw mut timer) };
        timer
    }

    pub(crate) fn set_timer(&mut self, timer: &Timer) {
        self.changed = true;
        unsafe { hvf_sim_set_timer(self.raw.as_ptr(), timer) };
    }
}
