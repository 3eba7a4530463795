//! Faults without an interrupt descriptor table: a triple fault.
#![no_std]
#![no_main]
#[path = "../guest.rs"]
mod guest;
use core::arch::asm;

#[unsafe(no_mangle)]
extern "C" fn main() -> ! {
    let nothing = [0_u64; 2];
    // SAFETY: that is the point.
    unsafe { asm!("lidt [{}]", "ud2", in(reg) nothing.as_ptr(), options(noreturn)) }
}
