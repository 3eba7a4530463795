//! Loads 8 bytes from its argument, forever, and reports them. The load goes to X1.
#![no_std]
#![no_main]
#[path = "../guest.rs"]
mod guest;

#[unsafe(no_mangle)]
extern "C" fn main(address: u64) -> ! {
    loop {
        let value;
        // SAFETY: the suite answers.
        unsafe { core::arch::asm!("ldr x1, [{}]", in(reg) address, out("x1") value) };
        guest::report(value);
    }
}
