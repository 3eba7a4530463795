//! Changes what a reset must put back: local APIC, MSRs, a vector register, a debug register. Then reports 1.
//! The argument goes to `IA32_APIC_BASE` last: it may take the local APIC out of memory.
#![no_std]
#![no_main]
#[path = "../guest.rs"]
mod guest;
use core::arch::asm;
use guest::{LAPIC, store};

#[unsafe(no_mangle)]
extern "C" fn main(apic_base: u64) -> ! {
    guest::enable_lapic();
    store(LAPIC + 0x80, 0x20_u32);
    store(LAPIC + 0x320, 0x2_0040_u32);
    store(LAPIC + 0x380, 0x1000_0000_u32);
    guest::write_msr(0x277, 0);
    guest::write_msr(0xc000_0081, 0x1234);
    guest::write_msr(0x2ff, 0xc00);
    guest::write_msr(0x4b56_4d01, 0x18_0001);
    // SAFETY: registers that nothing here uses.
    unsafe { asm!("movq xmm5, {0}", "mov dr0, {0}", in(reg) 0x5555_u64) };
    guest::write_msr(0x1b, apic_base);
    guest::report(1);
    guest::halt()
}
