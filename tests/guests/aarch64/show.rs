//! Reports what `change` changes.
#![no_std]
#![no_main]
#[path = "../gic.rs"]
mod gic;
#[path = "../guest.rs"]
mod guest;
use core::arch::asm;
use guest::{load, report};

#[unsafe(no_mangle)]
extern "C" fn main() -> ! {
    // Control, then of the word with INTID 52: group, enabled, pending, priority, trigger.
    for register in [0, 0x84, 0x104, 0x204, 0x434, 0xc0c] {
        report(load::<u32>(gic::DISTRIBUTOR + register).into());
    }
    // The same of SGIs and PPIs.
    for register in [0x80, 0x100, 0x200, 0x400, 0x418] {
        report(load::<u32>(gic::redistributor(0) + 0x1_0000 + register).into());
    }
    report(mrs!("S3_0_C4_C6_0"));
    report(mrs!("S3_0_C12_C12_7"));
    // Whether the time is reached says nothing while the timer is off.
    report(mrs!("cntv_ctl_el0") & 3);
    report(mrs!("cntkctl_el1"));
    report(mrs!("tpidr_el0"));
    report(mrs!("tpidr_el1"));
    report(mrs!("contextidr_el1"));
    let vector: u64;
    // SAFETY: reads.
    unsafe { asm!("fmov {}, d5", out(reg) vector) };
    report(vector);
    guest::halt()
}
