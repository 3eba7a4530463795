//! What the guest programs of every architecture share: where they talk to the suite, and how.
//!
//! The suite enters a program with all of the first 4 GiB mapped to itself, interrupts off, with one argument.
#![allow(dead_code, reason = "no program needs all of it")]

#[cfg_attr(target_arch = "x86_64", path = "x86_64.rs")]
#[cfg_attr(target_arch = "aarch64", path = "aarch64.rs")]
mod arch;

pub use arch::*;

/// A store of 8 bytes here is a message to the suite.
pub const REPORT: u64 = 0xd000_0000;
/// Where the suite plays a device.
pub const DEVICE: u64 = 0xd000_1000;
/// What a program reports when it panics.
pub const PANIC: u64 = 0xdead;

pub fn report(value: u64) {
    store(REPORT, value);
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    report(PANIC);
    halt()
}
