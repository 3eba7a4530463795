//! Reports what `change` changes, in the order of `POWER_ON` in the suite.
#![no_std]
#![no_main]
#[path = "../guest.rs"]
mod guest;
use core::arch::asm;
use guest::{LAPIC, load, report};

#[unsafe(no_mangle)]
extern "C" fn main() -> ! {
    for register in [0xf0, 0x80, 0x320, 0x350, 0x360, 0x380] {
        report(load::<u32>(LAPIC + register).into());
    }
    for msr in [0x1b, 0x277, 0xc000_0081, 0x2ff, 0x4b56_4d01] {
        report(guest::read_msr(msr));
    }
    let (vector, debug): (u64, u64);
    // SAFETY: reads.
    unsafe { asm!("movq {}, xmm5", "mov {}, dr0", out(reg) vector, out(reg) debug) };
    report(vector);
    report(debug);
    guest::halt()
}
