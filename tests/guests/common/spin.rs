//! Reports 1 and spins.
#![no_std]
#![no_main]
#[path = "../guest.rs"]
mod guest;

#[unsafe(no_mangle)]
extern "C" fn main() -> ! {
    guest::report(1);
    loop {
        core::hint::spin_loop();
    }
}
