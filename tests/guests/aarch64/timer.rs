//! Reports the counter's frequency. Then loads a number of ticks from `DEVICE`, forever, sets the virtual timer to that
//! time, waits, and reports how many ticks it came late, or the INTID of what came instead with bit 63 set.
#![no_std]
#![no_main]
#[path = "../gic.rs"]
mod gic;
#[path = "../guest.rs"]
mod guest;
use core::arch::asm;
use guest::{DEVICE, load, report};

/// Ticks of the virtual counter, not read ahead.
fn now() -> u64 {
    // SAFETY: a barrier.
    unsafe { asm!("isb") };
    mrs!("cntvct_el0")
}

/// Bits of the timer's control register: it is enabled, its time is reached.
const ENABLED: u64 = 1;
const REACHED: u64 = 4;

fn wait(ticks: u64) -> u64 {
    let deadline = now().wrapping_add(ticks);
    msr!("cntv_cval_el0", deadline);
    msr!("cntv_ctl_el0", ENABLED);
    loop {
        // SAFETY: waits; a pending interrupt wakes it though it is masked.
        unsafe { asm!("wfi") };
        let late = now().wrapping_sub(deadline);
        let intid = gic::acknowledge();
        if intid == gic::NOTHING {
            continue;
        }
        let reached = mrs!("cntv_ctl_el0") & REACHED != 0;
        msr!("cntv_ctl_el0", 0);
        gic::end(intid);
        if intid != gic::TIMER {
            return 1 << 63 | u64::from(intid);
        }
        assert!(reached);
        return late;
    }
}

#[unsafe(no_mangle)]
extern "C" fn main() -> ! {
    gic::enable_distributor();
    gic::enable_core(0);
    gic::enable_spi(128, true);
    report(mrs!("cntfrq_el0"));
    loop {
        report(wait(load(DEVICE)));
    }
}
