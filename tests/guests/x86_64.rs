//! The x86_64 part of what the guest programs share: entry in 64-bit mode, loads and stores, halting, MSRs.

use core::arch::asm;

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
