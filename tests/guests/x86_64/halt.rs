//! Reports 1 and halts with interrupts off.
#![no_std]
#![no_main]
#[path = "../x86_64.rs"]
mod guest;

#[unsafe(no_mangle)]
extern "C" fn main() -> ! {
    guest::report(1);
    guest::halt()
}
