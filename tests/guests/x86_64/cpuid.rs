//! Reports EAX:EBX and ECX:EDX of the CPUID leaf (low half of the argument) and subleaf (high half).
#![no_std]
#![no_main]
#[path = "../guest.rs"]
mod guest;
use core::arch::x86_64::__cpuid_count;

#[unsafe(no_mangle)]
extern "C" fn main(argument: u64) -> ! {
    let leaf = __cpuid_count(argument as u32, (argument >> 32) as u32);
    guest::report(u64::from(leaf.eax) << 32 | u64::from(leaf.ebx));
    guest::report(u64::from(leaf.ecx) << 32 | u64::from(leaf.edx));
    guest::halt()
}
