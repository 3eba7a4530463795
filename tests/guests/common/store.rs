//! Stores 1, 2, 3, ... (4 bytes) at its argument, and reports each after it.
#![no_std]
#![no_main]
#[path = "../guest.rs"]
mod guest;

#[unsafe(no_mangle)]
extern "C" fn main(address: u64) -> ! {
    for value in 1_u32.. {
        guest::store(address, value);
        guest::report(value.into());
    }
    guest::halt()
}
