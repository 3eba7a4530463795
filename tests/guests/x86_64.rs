//! What the guest programs share: entry, loads and stores, ports, reports to the suite.
//!
//! The suite enters a program in 64-bit mode, all of the first 4 GiB mapped to itself, interrupts off, with one argument.
#![allow(dead_code, reason = "no program needs all of it")]

use core::{arch::asm, panic::PanicInfo};

/// A store of 8 bytes here is a message to the suite.
pub const REPORT: u64 = 0xd000_0000;
/// Where the suite plays a device.
pub const DEVICE: u64 = 0xd000_1000;
/// What a program reports when it panics.
pub const PANIC: u64 = 0xdead;
pub const LAPIC: u64 = 0xfee0_0000;
pub const IOAPIC: u64 = 0xfec0_0000;

core::arch::global_asm!(".pushsection .text.entry, \"ax\"", ".globl entry", "entry: jmp main", ".popsection");

pub fn load<T>(address: u64) -> T {
    // SAFETY: the suite maps all addresses that programs use, or answers for them.
    unsafe { (address as *const T).read_volatile() }
}

pub fn store<T>(address: u64, value: T) {
    // SAFETY: as for `load`; programs do not overwrite themselves.
    unsafe { (address as *mut T).write_volatile(value) }
}

pub fn report(value: u64) {
    store(REPORT, value);
}

pub fn halt() -> ! {
    loop {
        // SAFETY: waits.
        unsafe { asm!("hlt") }
    }
}

/// Halts with interrupts on.
pub fn wait() -> ! {
    loop {
        // SAFETY: the program has set up what interrupts need.
        unsafe { asm!("sti", "hlt") }
    }
}

pub fn read_msr(index: u32) -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: reads.
    unsafe { asm!("rdmsr", in("ecx") index, out("eax") low, out("edx") high) };
    u64::from(high) << 32 | u64::from(low)
}

pub fn write_msr(index: u32, value: u64) {
    // SAFETY: programs write registers that do not concern memory.
    unsafe { asm!("wrmsr", in("ecx") index, in("eax") value as u32, in("edx") (value >> 32) as u32) }
}

pub fn enable_lapic() {
    store(LAPIC + 0xf0, 0x1ff_u32);
}

#[panic_handler]
fn panic(_: &PanicInfo) -> ! {
    report(PANIC);
    halt()
}
