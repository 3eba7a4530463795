//! Two cores send each other SGIs, forever: the second sends 2, the first sends 3 to itself and then answers with 1. The second
//! begins, since an SGI to a core that has not enabled its group yet may be lost (IHI 0069, 4.6.3).
//! Each reports what it takes: its number in bits 8-15, the INTID below.
#![no_std]
#![no_main]
#[path = "../gic.rs"]
mod gic;
#[path = "../guest.rs"]
mod guest;
use core::arch::{asm, global_asm};
use guest::report;

// The second core comes with the MMU off; what it stores on its stack nobody else reads.
global_asm!("second: mov sp, #0x180000", "b second_main");

unsafe extern "C" {
    fn second();
}

/// PSCI `CPU_ON`.
fn start(core: u64, entry: u64) {
    let result: u64;
    // SAFETY: the other core has its own stack.
    unsafe {
        asm!("hvc #0", inout("x0") 0xc400_0003_u64 => result, inout("x1") core => _, inout("x2") entry => _,
            inout("x3") 0_u64 => _, options(nostack));
    }
    assert!(result == 0);
}

/// Waits for an interrupt and reports it.
fn take(core: u64) -> u32 {
    loop {
        // SAFETY: waits; a pending interrupt wakes it though it is masked.
        unsafe { asm!("wfi") };
        let intid = gic::acknowledge();
        if intid != gic::NOTHING {
            report(core << 8 | u64::from(intid));
            gic::end(intid);
            return intid;
        }
    }
}

#[unsafe(no_mangle)]
extern "C" fn main() -> ! {
    gic::enable_distributor();
    gic::enable_core(0);
    start(1, second as *const () as u64);
    loop {
        assert!(take(0) == 2);
        gic::send(3, 0);
        assert!(take(0) == 3);
        gic::send(1, 1);
    }
}

#[unsafe(no_mangle)]
extern "C" fn second_main() -> ! {
    gic::enable_core(1);
    loop {
        gic::send(2, 0);
        assert!(take(1) == 1);
    }
}
