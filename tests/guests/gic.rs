//! A driver for the GICv3 (IHI 0069), of aarch64 programs that take interrupts. They are all of group 1.

#![allow(dead_code, reason = "no program needs all of it")]

use crate::{
    guest::{load, store},
    mrs, msr,
};

pub const DISTRIBUTOR: u64 = 0x0800_0000;
/// INTID of the virtual timer.
pub const TIMER: u32 = 27;
/// What the acknowledge register tells when nothing is pending.
pub const NOTHING: u32 = 1023;
const PRIORITY: u8 = 0xa0;

/// The redistributor of core `index`.
pub const fn redistributor(index: u64) -> u64 {
    0x0a00_0000 + index * 0x2_0000
}

/// Enables the distributor, with affinity routing. The first core does it.
pub fn enable_distributor() {
    store(DISTRIBUTOR, 0x12_u32);
    while load::<u32>(DISTRIBUTOR) >> 31 != 0 {}
}

/// Enables this core's redistributor, for all SGIs and the virtual timer, and its CPU interface.
pub fn enable_core(index: u64) {
    let redistributor = redistributor(index);
    store(redistributor + 0x14, load::<u32>(redistributor + 0x14) & !2);
    while load::<u32>(redistributor + 0x14) & 4 != 0 {}
    let frame = redistributor + 0x1_0000;
    store(frame + 0x80, u32::MAX);
    for intid in (0..16).chain([TIMER.into()]) {
        store(frame + 0x400 + intid, PRIORITY);
    }
    store(frame + 0x100, 1 << TIMER | 0xffff_u32);
    // ICC_SRE, ICC_PMR, ICC_BPR1, ICC_CTLR, ICC_IGRPEN1.
    msr!("S3_0_C12_C12_5", mrs!("S3_0_C12_C12_5") | 1);
    msr!("S3_0_C4_C6_0", 0xf0);
    msr!("S3_0_C12_C12_3", 0);
    msr!("S3_0_C12_C12_4", 0);
    msr!("S3_0_C12_C12_7", 1);
}

/// Enables an SPI, an edge or a level, for core 0.
pub fn enable_spi(intid: u32, edge: bool) {
    let (word, bit) = (u64::from(intid / 32) * 4, 1 << (intid % 32));
    let group = DISTRIBUTOR + 0x80 + word;
    store(group, load::<u32>(group) | bit);
    let configuration = DISTRIBUTOR + 0xc00 + u64::from(intid / 16) * 4;
    let trigger = 2 << (intid % 16 * 2);
    let others = load::<u32>(configuration) & !trigger;
    store(configuration, if edge { others | trigger } else { others });
    store(DISTRIBUTOR + 0x400 + u64::from(intid), PRIORITY);
    store(DISTRIBUTOR + 0x6000 + u64::from(intid) * 8, 0_u64);
    store(DISTRIBUTOR + 0x100 + word, bit);
}

/// Takes the pending interrupt.
pub fn acknowledge() -> u32 {
    let intid = mrs!("S3_0_C12_C12_0") as u32;
    // SAFETY: orders what follows after the read.
    unsafe { core::arch::asm!("dsb sy") };
    intid
}

pub fn end(intid: u32) {
    msr!("S3_0_C12_C12_1", intid.into());
}

/// Sends an SGI to core `index`, one of the first 16.
pub fn send(sgi: u64, index: u64) {
    msr!("S3_0_C12_C11_5", sgi << 24 | 1 << index);
}
