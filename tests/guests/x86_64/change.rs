//! Changes what a reset must put back: local APIC, MSRs, a vector register, a debug register. Then reports 1.
#![no_std]
#![no_main]
#[path = "../x86_64.rs"]
mod guest;
use core::arch::asm;
use guest::{LAPIC, store};

#[unsafe(no_mangle)]
extern "C" fn main() -> ! {
    guest::enable_lapic();
    store(LAPIC + 0x80, 0x20_u32);
    store(LAPIC + 0x320, 0x2_0040_u32);
    store(LAPIC + 0x380, 0x1000_0000_u32);
    guest::write_msr(0x277, 0);
    guest::write_msr(0xc000_0081, 0x1234);
    guest::write_msr(0x2ff, 0xc00);
    // SAFETY: registers that nothing here uses.
    unsafe { asm!("movq xmm5, {0}", "mov dr0, {0}", in(reg) 0x5555_u64) };
    guest::report(1);
    guest::halt()
}
