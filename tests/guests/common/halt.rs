//! Reports 1 and halts with interrupts off.
#![no_std]
#![no_main]
#[path = "../guest.rs"]
mod guest;

#[unsafe(no_mangle)]
extern "C" fn main() -> ! {
    guest::report(1);
    guest::halt()
}
