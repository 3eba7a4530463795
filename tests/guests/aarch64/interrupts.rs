//! Reports the INTID of each interrupt, then ends it: INTID 52, 128 and 129 (edges).
//! Bit 0 of the argument: 52 is an edge. Bit 1: interrupts stay masked, and the program looks for them when it wakes.
#![no_std]
#![no_main]
#[path = "../gic.rs"]
mod gic;
#[path = "../guest.rs"]
mod guest;
use core::arch::{asm, global_asm};

// Of all exceptions only an IRQ at EL1, with its own stack pointer, is expected: the sixth vector.
global_asm!(
    ".balign 2048",
    "vectors:",
    ".rept 5",
    "b unexpected",
    ".balign 128",
    ".endr",
    "sub sp, sp, #160",
    "stp x0, x1, [sp]",
    "stp x2, x3, [sp, #16]",
    "stp x4, x5, [sp, #32]",
    "stp x6, x7, [sp, #48]",
    "stp x8, x9, [sp, #64]",
    "stp x10, x11, [sp, #80]",
    "stp x12, x13, [sp, #96]",
    "stp x14, x15, [sp, #112]",
    "stp x16, x17, [sp, #128]",
    "stp x18, x30, [sp, #144]",
    "bl interrupt",
    "ldp x0, x1, [sp]",
    "ldp x2, x3, [sp, #16]",
    "ldp x4, x5, [sp, #32]",
    "ldp x6, x7, [sp, #48]",
    "ldp x8, x9, [sp, #64]",
    "ldp x10, x11, [sp, #80]",
    "ldp x12, x13, [sp, #96]",
    "ldp x14, x15, [sp, #112]",
    "ldp x16, x17, [sp, #128]",
    "ldp x18, x30, [sp, #144]",
    "add sp, sp, #160",
    "eret",
    ".balign 128",
    ".rept 10",
    "b unexpected",
    ".balign 128",
    ".endr",
);

unsafe extern "C" {
    static vectors: u8;
}

#[unsafe(no_mangle)]
extern "C" fn unexpected() -> ! {
    panic!()
}

/// A level may be low again when it is asked for: then there is nothing to end.
#[unsafe(no_mangle)]
extern "C" fn interrupt() {
    let intid = gic::acknowledge();
    if intid != gic::NOTHING {
        guest::report(intid.into());
        gic::end(intid);
    }
}

#[unsafe(no_mangle)]
extern "C" fn main(argument: u64) -> ! {
    msr!("vbar_el1", &raw const vectors as u64);
    gic::enable_distributor();
    gic::enable_core(0);
    gic::enable_spi(52, argument & 1 != 0);
    gic::enable_spi(128, true);
    gic::enable_spi(129, true);
    guest::report(1);
    if argument & 2 == 0 {
        guest::wait()
    }
    loop {
        // SAFETY: waits; a pending interrupt wakes it though it is masked.
        unsafe { asm!("wfi") };
        interrupt();
    }
}
