//! The aarch64 part of what the guest programs share: entry at EL1, loads and stores, waiting, system registers, exceptions.

use core::arch::asm;

// The suite may load one image over another: the invalidation is the same first bytes of each.
core::arch::global_asm!(
    ".pushsection .text.entry, \"ax\"",
    ".globl entry",
    "entry: ic iallu",
    "dsb nsh",
    "isb",
    "b main",
    ".popsection",
);

/// A load as drivers do it: one register and no write-back, so that a hypervisor needs not read the instruction.
pub fn load<T: Copy>(address: u64) -> T {
    let value: u64;
    // SAFETY: the suite maps all addresses that programs use, or answers for them; registers are little-endian.
    unsafe {
        match size_of::<T>() {
            1 => asm!("ldrb {0:w}, [{1}]", out(reg) value, in(reg) address),
            2 => asm!("ldrh {0:w}, [{1}]", out(reg) value, in(reg) address),
            4 => asm!("ldr {0:w}, [{1}]", out(reg) value, in(reg) address),
            8 => asm!("ldr {0}, [{1}]", out(reg) value, in(reg) address),
            _ => panic!(),
        }
        core::mem::transmute_copy(&value)
    }
}

pub fn store<T: Copy + Into<Bits>>(address: u64, value: T) {
    let Bits(bits) = value.into();
    // SAFETY: as for `load`; programs do not overwrite themselves.
    unsafe {
        match size_of::<T>() {
            1 => asm!("strb {0:w}, [{1}]", in(reg) bits, in(reg) address),
            2 => asm!("strh {0:w}, [{1}]", in(reg) bits, in(reg) address),
            4 => asm!("str {0:w}, [{1}]", in(reg) bits, in(reg) address),
            _ => asm!("str {0}, [{1}]", in(reg) bits, in(reg) address),
        }
    }
}

/// An integer as a register holds it.
pub struct Bits(u64);

macro_rules! bits {
    ($($integer:ty)*) => {
        $(impl From<$integer> for Bits {
            fn from(value: $integer) -> Self {
                Self(value as u64)
            }
        })*
    };
}
bits!(u8 u16 u32 u64);

pub fn halt() -> ! {
    loop {
        // SAFETY: waits.
        unsafe { asm!("wfi") }
    }
}

/// Waits with interrupts on.
pub fn wait() -> ! {
    // SAFETY: the program has set up what interrupts need.
    unsafe { asm!("msr daifclr, #2") }
    halt()
}

/// Reads a system register by the name that the assembler knows.
#[macro_export]
macro_rules! mrs {
    ($name:literal) => {{
        let value: u64;
        // SAFETY: reads.
        unsafe { core::arch::asm!(concat!("mrs {}, ", $name), out(reg) value) };
        value
    }};
}

/// Writes a system register, and makes what follows see it.
#[macro_export]
macro_rules! msr {
    ($name:literal, $value:expr) => {{
        let value: u64 = $value;
        // SAFETY: programs write registers that do not concern memory.
        unsafe { core::arch::asm!(concat!("msr ", $name, ", {}"), "isb", in(reg) value) }
    }};
}
