//! Loads 8 bytes from its argument, forever, and reports them. The load goes to RAX.
#![no_std]
#![no_main]
#[path = "../guest.rs"]
mod guest;

#[unsafe(no_mangle)]
extern "C" fn main(address: u64) -> ! {
    loop {
        let value;
        // SAFETY: the suite answers.
        unsafe { core::arch::asm!("mov rax, [{}]", in(reg) address, out("rax") value) };
        guest::report(value);
    }
}
