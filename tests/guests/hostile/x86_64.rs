//! The x86_64 part: entry in 64-bit mode, the other cores from real mode, ports.

use core::{
    arch::{asm, global_asm},
    ops::Range,
};

use super::Word;
use crate::random::Random;

pub const RAM: u64 = 0;
/// The program with all that keeps it alive: no device is made to write here.
pub const PROGRAM: Range<u64> = 0..16 << 20;
pub const ECAM: u64 = 0xe000_0000;
pub const PCI: u64 = 0xc000_0000;
pub const VIRTIO_MMIO: u64 = 0xf000_0000;
const LAPIC: u64 = 0xfee0_0000;
const IOAPIC: u64 = 0xfec0_0000;
/// Where nobody may answer: devices, and nothing at all.
pub const HOLES: [u64; 8] =
    [0x0400_0000, 0x8000_0000, PCI, 0xd000_0000, ECAM, VIRTIO_MMIO, LAPIC, 0x70_0000_0000];
/// Slots 0 to 31 of BARs without their tables of messages: one of those may end a core.
pub const WINDOWS: &[(u64, u64)] = &[
    (ECAM, 1 << 20),
    (ECAM, 1 << 20),
    (VIRTIO_MMIO, 0x2_0000),
    (VIRTIO_MMIO + 0x1000, 0x5000),
    (PCI + 0x1_0000, 0x4000),
    (PCI + 0x2_0000, 0x4000),
    (PCI + 0x3_0000, 0x4000),
    (PCI + 0x4_0000, 0x4000),
    (PCI + 0x5_0000, 0x4000),
    (PCI + 0x10_0000, 0x4000),
    (PCI + 0x11_0000, 0x4000),
    (PCI + 0x1f_0000, 0x4000),
    (0xd000_0000, 1 << 28),
    (0x8000_0000, 1 << 20),
    (HIGH, 1 << 24),
];
pub const WILD_WINDOWS: &[(u64, u64)] = &[
    (ECAM, 1 << 20),
    (PCI, 0x20_0000),
    (VIRTIO_MMIO, 0x2_0000),
    (IOAPIC, 0x1000),
    (LAPIC, 0x1000),
    (0xc000_0000, 1 << 30),
    (HIGH, 1 << 24),
];
/// BARs above 4 GiB.
const HIGH: u64 = 448 << 30;

pub const HAS_PORTS: bool = true;
pub const ALIGNED: bool = false;

global_asm!(
    ".pushsection .text.entry, \"ax\"",
    ".globl entry, given, trampoline, trampoline_end",
    "entry: jmp start",
    ".balign 64",
    "given: .quad 0, 0, 0, 0",
    "start: cli",
    "mov esp, 0x610000",
    "call {first}",
    // Another core: from real mode straight to 64 bits, with the first one's tables.
    "trampoline:",
    ".code16",
    "cli",
    "xor ax, ax",
    "mov ds, ax",
    "mov ss, ax",
    // LGDT of the pointer below, where it was copied to.
    ".byte 0x0f, 0x01, 0x16",
    ".word 0x8000 + pointer - trampoline",
    "mov eax, 0x20",
    "mov cr4, eax",
    "mov eax, {tables}",
    "mov cr3, eax",
    "mov ecx, 0xc0000080",
    "mov eax, 0x100",
    "xor edx, edx",
    "wrmsr",
    "mov eax, 0x80000011",
    "mov cr0, eax",
    ".byte 0x66, 0xea",
    ".long second",
    ".word 0x10",
    "pointer: .word 47",
    ".long 0x500",
    "trampoline_end:",
    ".code64",
    "second:",
    "mov eax, 0x18",
    "mov ds, eax",
    "mov es, eax",
    "mov ss, eax",
    "mov edi, 1",
    "mov eax, offset next",
    "lock xadd [rax], edi",
    "mov eax, edi",
    "shl eax, 16",
    "lea esp, [eax + 0x610000]",
    "call {other}",
    "ud2",
    ".balign 4",
    "next: .long 1",
    ".popsection",
    first = sym first,
    other = sym second_core,
    tables = const TABLES,
);

unsafe extern "C" {
    static given: u8;
    static trampoline: u8;
    static trampoline_end: u8;
}

/// Page tables, away from where the loader put them: low memory may change.
const TABLES: u64 = 0x70_0000;
/// Where the other cores begin.
const START: u64 = 0x8000;
const MOST_PORTS: u64 = 0x1_0000;

macro_rules! words {
    ($($word:ty)*) => {
        $(impl Word for $word {
            fn store(self, address: u64) {
                // SAFETY: the tables map all addresses that the guest uses.
                unsafe { (address as *mut $word).write_volatile(self) }
            }

            fn load(address: u64) -> Self {
                // SAFETY: as for `store`.
                unsafe { (address as *const $word).read_volatile() }
            }
        })*
    };
}
words!(u8 u16 u32 u64);

extern "C" fn first() -> ! {
    map();
    crate::main()
}

extern "C" fn second_core(core: u64) -> ! {
    if core >= crate::CORES {
        loop {
            // SAFETY: waits, for ever.
            unsafe { asm!("cli", "hlt") }
        }
    }
    crate::other(core)
}

/// Maps the first 4 GiB, and 1 GiB of BARs above, each to itself.
fn map() {
    let (pointers, directories) = (TABLES + 0x1000, TABLES + 0x2000);
    for offset in (0..0x2000).step_by(8) {
        (TABLES + offset).store_word(0);
    }
    TABLES.store_word(pointers | 3);
    for (number, slot) in [0, 1, 2, 3, 448].into_iter().enumerate() {
        let directory = directories + number as u64 * 0x1000;
        (pointers + slot * 8).store_word(directory | 3);
        for index in 0..512 {
            (directory + index * 8).store_word(slot << 30 | index << 21 | 0x83);
        }
    }
    // SAFETY: maps all that was mapped.
    unsafe { asm!("mov cr3, {}", in(reg) TABLES) }
}

trait Table {
    fn store_word(self, value: u64);
}

impl Table for u64 {
    fn store_word(self, value: u64) {
        super::store(self, value);
    }
}

pub fn parameters() -> u64 {
    &raw const given as u64
}

/// Has the other cores begin, as many as there are, by INIT and SIPIs.
pub fn start_cores(_: u64) {
    let (from, to) = (&raw const trampoline as u64, &raw const trampoline_end as u64);
    for offset in 0..to - from {
        super::store(START + offset, super::load::<u8>(from + offset));
    }
    super::store(LAPIC + 0xf0, 0x1ff_u32);
    for command in [0xc_4500_u32, 0xc_4600 | (START >> 12) as u32, 0xc_4600 | (START >> 12) as u32] {
        super::store(LAPIC + 0x300, command);
        for _ in 0..10_000 {
            core::hint::spin_loop();
        }
    }
}

fn output(port: u16, width: u64, value: u64) {
    // SAFETY: ports are no memory.
    unsafe {
        match width {
            1 => asm!("out dx, al", in("dx") port, in("al") value as u8),
            2 => asm!("out dx, ax", in("dx") port, in("ax") value as u16),
            _ => asm!("out dx, eax", in("dx") port, in("eax") value as u32),
        }
    }
}

fn input(port: u16, width: u64) -> u64 {
    let value: u32;
    // SAFETY: as for `output`.
    unsafe {
        match width {
            1 => asm!("xor eax, eax", "in al, dx", in("dx") port, out("eax") value),
            2 => asm!("xor eax, eax", "in ax, dx", in("dx") port, out("eax") value),
            _ => asm!("in eax, dx", in("dx") port, out("eax") value),
        }
    }
    value.into()
}

/// Microseconds of the ACPI timer (3.58 MHz, 24 bits), so many that they wrap with it.
pub fn microseconds() -> u64 {
    (input(0x608, 4) & 0xff_ffff) >> 2
}

/// The bits in which they count.
pub const MICROSECONDS: u64 = 0x3f_ffff;

const COM1: u16 = 0x3f8;
const POWER: u16 = 0x604;
/// Where devices answer.
const PORTS: [u64; 26] = [
    0x3f8, 0x3f9, 0x3fa, 0x3fb, 0x3fc, 0x3fd, 0x3fe, 0x3ff, 0x70, 0x71, 0x60, 0x64, 0x600, 0x602, 0x608, 0x60c, 0x610, 0x611,
    0xcf8, 0xcf9, 0xcfc, 0xcfd, 0xcfe, 0xcff, 0x40, 0x20,
];

/// Noise on a port. Only a wild guest may happen to power off, and some may not reset.
pub fn port(random: &mut Random, is_wild: bool, may_reset: bool) {
    let port = if random.is_one_in(4) { random.below(MOST_PORTS) } else { random.one_of(&PORTS) };
    let width = 1 << random.below(3);
    if random.is_one_in(2) {
        input(port as u16, width);
        return;
    }
    // An address of configuration space is more often one.
    if port == 0xcf8 && width == 4 && !random.is_one_in(4) {
        output(0xcf8, 4, 0x8000_0000 | random.below(0x20) << 11 | random.below(0x40) << 2);
        return;
    }
    let value = crate::noise::harmless(random.odd());
    let touches_power = port <= u64::from(POWER) + 1 && port + width > POWER.into();
    if touches_power && !is_wild {
        output(POWER, 2, value & !0x2000);
        return;
    }
    let touches = |of: u64| port <= of && port + width > of;
    if may_reset || !touches(0x64) && !touches(0x610) {
        output(port as u16, width, value);
    }
}

/// An address and data for the table of messages: fixed vectors for any core, or nobody's address.
pub fn message(random: &mut Random) -> (u64, u32) {
    if random.is_one_in(4) {
        return (random.next() | 1 << 62, random.next() as u32);
    }
    (LAPIC | random.next() & 0xf_fffc, 0x20 | random.next() as u32 & 0xc0ff)
}

/// One of the ways to reset the machine.
pub fn reset(random: &mut Random) -> ! {
    loop {
        if random.is_one_in(2) { output(0x64, 1, 0xfe) } else { output(0x610, 1, 1) }
    }
}

pub fn power_off() {
    output(POWER, 2, 0x3401);
    output(POWER, 2, 0x3400);
}

/// Puts the serial port into a state in which it sends.
pub fn open_serial() {
    for (register, value) in [(3, 3), (1, 0), (2, 7), (4, 3)] {
        output(COM1 + register, 1, value);
    }
}

pub fn serial(byte: u8) {
    for _ in 0..100_000 {
        if input(COM1 + 5, 1) & 0x20 != 0 {
            break;
        }
    }
    output(COM1, 1, byte.into());
}
