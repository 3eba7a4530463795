//! Starts all other cores by INIT and two SIPIs. Each writes its APIC id, from CPUID, to port 0x12 and halts.
#![no_std]
#![no_main]
#[path = "../guest.rs"]
mod guest;
use core::arch::global_asm;
use guest::{LAPIC, store};

global_asm!(
    ".code16",
    "trampoline:",
    "mov eax, 1",
    "cpuid",
    "shr ebx, 24",
    "mov al, bl",
    "out 0x12, al",
    "2: hlt",
    "jmp 2b",
    "trampoline_end:",
    ".code64",
);

unsafe extern "C" {
    static trampoline: u8;
    static trampoline_end: u8;
}

/// Below 1 MiB, on a page: its number is the SIPI's vector.
const START: u64 = 0x8000;
const ALL_OTHERS: u32 = 0b11 << 18;
const INIT: u32 = 0b101 << 8 | 1 << 14;
const STARTUP: u32 = 0b110 << 8 | 1 << 14 | (START >> 12) as u32;

#[unsafe(no_mangle)]
extern "C" fn main() -> ! {
    let (from, to) = (&raw const trampoline as u64, &raw const trampoline_end as u64);
    for n in 0..to - from {
        store(START + n, guest::load::<u8>(from + n));
    }
    guest::enable_lapic();
    for command in [INIT, STARTUP, STARTUP] {
        store(LAPIC + 0x300, ALL_OTHERS | command);
    }
    guest::report(1);
    guest::halt()
}
