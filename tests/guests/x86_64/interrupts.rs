//! Reports each interrupt on vectors 0x30 and 0x31, then ends it. The argument is what goes to the IOAPIC's pin 20.
#![no_std]
#![no_main]
#[path = "../guest.rs"]
mod guest;
use core::arch::{asm, global_asm};
use guest::{IOAPIC, LAPIC, REPORT, store};

global_asm!(
    ".macro handler name, vector",
    "\\name:",
    "push rdx",
    "mov edx, {report}",
    "mov qword ptr [rdx], \\vector",
    "mov edx, {eoi}",
    "mov dword ptr [rdx], 0",
    "pop rdx",
    "iretq",
    ".endm",
    "handler first, 0x30",
    "handler second, 0x31",
    report = const REPORT,
    eoi = const LAPIC + 0xb0,
);

unsafe extern "C" {
    fn first();
    fn second();
}

/// RAM for the interrupt descriptor table.
const IDT: u64 = 0x18_0000;
const PIN: u32 = 20;

fn gate(vector: u64, handler: u64) {
    store(IDT + vector * 16, handler & 0xffff | 8 << 16 | 0x8e00 << 32 | (handler >> 16 & 0xffff) << 48);
    store(IDT + vector * 16 + 8, handler >> 32);
}

fn redirect(pin: u32, entry: u64) {
    for (register, half) in [(0x11 + pin * 2, entry >> 32), (0x10 + pin * 2, entry & 0xffff_ffff)] {
        store(IOAPIC, register);
        store(IOAPIC + 0x10, half as u32);
    }
}

#[unsafe(no_mangle)]
extern "C" fn main(entry: u64) -> ! {
    gate(0x30, first as *const () as u64);
    gate(0x31, second as *const () as u64);
    let pointer = [0xffff_u64 << 48, IDT];
    // SAFETY: the table has the vectors that the suite uses. The limit is in the two bytes before the base.
    unsafe { asm!("lidt [{}]", in(reg) pointer.as_ptr().byte_add(6)) };
    guest::enable_lapic();
    redirect(PIN, entry);
    guest::report(1);
    guest::wait()
}
