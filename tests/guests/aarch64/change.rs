//! Changes what a reset must put back: interrupt controller, timer, system registers, a vector register. Then reports 1.
#![no_std]
#![no_main]
#[path = "../gic.rs"]
mod gic;
#[path = "../guest.rs"]
mod guest;
use core::arch::asm;
use guest::store;

#[unsafe(no_mangle)]
extern "C" fn main() -> ! {
    gic::enable_distributor();
    gic::enable_core(0);
    gic::enable_spi(52, true);
    store(gic::DISTRIBUTOR + 0x204, 1_u32 << 20);
    store(gic::redistributor(0) + 0x1_0200, 1_u32 << 5);
    msr!("cntv_cval_el0", 1);
    msr!("cntv_ctl_el0", 3);
    msr!("cntkctl_el1", 3);
    msr!("tpidr_el0", 0x1234);
    msr!("tpidr_el1", 0x5678);
    msr!("contextidr_el1", 0x9abc);
    // SAFETY: a register that nothing here uses.
    unsafe { asm!("fmov d5, {}", in(reg) 0x5555_u64) };
    guest::report(1);
    guest::halt()
}
