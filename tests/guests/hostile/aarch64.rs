//! The aarch64 part: an Image's header, entry at EL1 with the MMU off, the other cores by PSCI.
//!
//! Without the MMU all accesses are aligned, and other hosts than the emulator would have to see past the caches.

use core::{
    arch::{asm, global_asm},
    ops::Range,
};

use super::Word;
use crate::random::Random;

pub const RAM: u64 = 0x8000_0000;
/// The program with all that keeps it alive: no device is made to write here.
pub const PROGRAM: Range<u64> = RAM..RAM + (16 << 20);
pub const ECAM: u64 = 0x3f00_0000;
pub const PCI: u64 = 0x1000_0000;
pub const VIRTIO_MMIO: u64 = 0x0d00_0000;
const UART: u64 = 0x0900_0000;
const MSI_FRAME: u64 = 0x0801_0000;
const DISTRIBUTOR: u64 = 0x0800_0000;
const REDISTRIBUTORS: u64 = 0x0a00_0000;
/// Where nobody may answer: devices, and nothing at all.
pub const HOLES: [u64; 8] =
    [0, DISTRIBUTOR, UART, VIRTIO_MMIO, PCI, ECAM, 0x7fff_f000, 0x8400_0000];
pub const WINDOWS: &[(u64, u64)] = &[
    (ECAM, 1 << 20),
    (ECAM, 1 << 20),
    (VIRTIO_MMIO, 0x2_0000),
    (VIRTIO_MMIO + 0x1000, 0x5000),
    (PCI, 0x20_0000),
    (PCI + 0x1_0000, 0x5_0000),
    (UART, 0x1000),
    (UART + 0x1_0000, 0x1000),
    (UART + 0x2_0000, 0x1000),
    (MSI_FRAME, 0x1000),
    (0x2000_0000, 1 << 20),
    (0x4000_0000, 1 << 20),
];
pub const WILD_WINDOWS: &[(u64, u64)] = &[
    (0, 1 << 31),
    (ECAM, 1 << 20),
    (PCI, 0x20_0000),
    (UART, 0x3_0000),
    (DISTRIBUTOR, 0x2_0000),
    (REDISTRIBUTORS, 0x8_0000),
];

pub const HAS_PORTS: bool = false;
pub const ALIGNED: bool = true;

global_asm!(
    ".pushsection .text.entry, \"ax\"",
    ".globl entry, given, second",
    "entry: b start",
    ".long 0",
    ".quad {offset}",
    ".quad 0x100000",
    ".quad 0, 0, 0, 0",
    ".ascii \"ARM\\x64\"",
    ".long 0",
    "given: .quad 0, 0, 0, 0",
    "start: ldr x1, =0x80610000",
    "mov sp, x1",
    "bl {first}",
    "second: ldr x1, =0x80610000",
    "add x1, x1, x0, lsl #16",
    "mov sp, x1",
    "bl {other}",
    ".ltorg",
    ".popsection",
    offset = const 0x10_0000,
    first = sym first,
    other = sym second_core,
);

unsafe extern "C" {
    static given: u8;
    fn second();
}

macro_rules! words {
    ($($word:ty, $store:literal, $load:literal;)*) => {
        $(impl Word for $word {
            fn store(self, address: u64) {
                // SAFETY: the guest stores to devices and to its own memory. One register and no write-back, as drivers do it.
                unsafe { asm!($store, value = in(reg) u64::from(self), at = in(reg) address) }
            }

            fn load(address: u64) -> Self {
                let value: u64;
                // SAFETY: as for `store`.
                unsafe { asm!($load, value = out(reg) value, at = in(reg) address) };
                value as Self
            }
        })*
    };
}
words! {
    u8, "strb {value:w}, [{at}]", "ldrb {value:w}, [{at}]";
    u16, "strh {value:w}, [{at}]", "ldrh {value:w}, [{at}]";
    u32, "str {value:w}, [{at}]", "ldr {value:w}, [{at}]";
    u64, "str {value}, [{at}]", "ldr {value}, [{at}]";
}

extern "C" fn first() -> ! {
    crate::main()
}

extern "C" fn second_core(core: u64) -> ! {
    crate::other(core)
}

pub fn parameters() -> u64 {
    &raw const given as u64
}

/// Microseconds of the virtual counter.
pub fn microseconds() -> u64 {
    let (count, frequency): (u64, u64);
    // SAFETY: reads.
    unsafe { asm!("isb", "mrs {}, cntvct_el0", "mrs {}, cntfrq_el0", out(reg) count, out(reg) frequency) };
    count / (frequency / 1_000_000).max(1)
}

/// The bits in which they count.
pub const MICROSECONDS: u64 = u64::MAX;

fn call(function: u64, one: u64, two: u64, three: u64) -> u64 {
    let result: u64;
    // SAFETY: the hypervisor changes no memory of the guest's for a call.
    unsafe {
        asm!("hvc #0", inout("x0") function => result, inout("x1") one => _, inout("x2") two => _,
            inout("x3") three => _, options(nostack));
    }
    result
}

/// Has the other cores begin, as many as there are (PSCI `CPU_ON`).
pub fn start_cores(most: u64) {
    for core in 1..most {
        call(0xc400_0003, core, second as *const () as u64, core);
    }
}

pub fn port(_: &mut Random, _: bool, _: bool) {}

/// An address and data for the table of messages: one that the frame takes, or any.
pub fn message(random: &mut Random) -> (u64, u32) {
    let data = if random.is_one_in(2) { 128 + random.below(512) } else { random.odd() };
    let address = if random.is_one_in(4) { random.next() } else { MSI_FRAME + 0x40 };
    (address, data as u32)
}

/// PSCI `SYSTEM_RESET`, and the second one.
pub fn reset(random: &mut Random) -> ! {
    loop {
        call(random.one_of(&[0x8400_0009, 0xc400_0012]), 0, 0, 0);
    }
}

pub fn power_off() {
    call(0x8400_0008, 0, 0, 0);
}

/// Puts the serial port into a state in which it sends.
pub fn open_serial() {
    for (register, value) in [(0x30, 0_u32), (0x38, 0), (0x24, 13), (0x28, 1), (0x2c, 0x70), (0x30, 0x301)] {
        super::store(UART + register, value);
    }
}

pub fn serial(byte: u8) {
    for _ in 0..100_000 {
        if super::load::<u32>(UART + 0x18) & 0x20 == 0 {
            break;
        }
    }
    super::store(UART, u32::from(byte));
}
