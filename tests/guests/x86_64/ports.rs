//! OUT and IN of each width at port 0x10; reports what was read. Then OUTS and INS of each width, repeated.
#![no_std]
#![no_main]
#[path = "../guest.rs"]
mod guest;
use core::arch::asm;
use guest::{load, report};

/// RAM for strings.
const BUFFER: u64 = 0x18_0000;

#[unsafe(no_mangle)]
extern "C" fn main() -> ! {
    let (byte, word, long): (u8, u16, u32);
    // SAFETY: the suite answers.
    unsafe {
        asm!("out dx, al", in("dx") 0x10_u16, in("al") 0x11_u8);
        asm!("out dx, ax", in("dx") 0x10_u16, in("ax") 0x2221_u16);
        asm!("out dx, eax", in("dx") 0x10_u16, in("eax") 0x4443_4241_u32);
        asm!("in al, dx", in("dx") 0x10_u16, out("al") byte);
        asm!("in ax, dx", in("dx") 0x10_u16, out("ax") word);
        asm!("in eax, dx", in("dx") 0x10_u16, out("eax") long);
    }
    report(byte.into());
    report(word.into());
    report(long.into());
    let text = *b"abcdefgh";
    // SAFETY: reads `text`, writes the buffer.
    unsafe {
        asm!("rep outsb", in("dx") 0x11_u16, inout("rsi") text.as_ptr() => _, inout("rcx") 3_u64 => _);
        asm!("rep outsw", in("dx") 0x11_u16, inout("rsi") text.as_ptr() => _, inout("rcx") 3_u64 => _);
        asm!("rep outsd", in("dx") 0x11_u16, inout("rsi") text.as_ptr() => _, inout("rcx") 2_u64 => _);
        asm!("rep insb", in("dx") 0x11_u16, inout("rdi") BUFFER => _, inout("rcx") 3_u64 => _);
        asm!("rep insw", in("dx") 0x11_u16, inout("rdi") BUFFER + 8 => _, inout("rcx") 3_u64 => _);
        asm!("rep insd", in("dx") 0x11_u16, inout("rdi") BUFFER + 16 => _, inout("rcx") 2_u64 => _);
    }
    for n in 0..3 {
        report(load(BUFFER + n * 8));
    }
    guest::halt()
}
