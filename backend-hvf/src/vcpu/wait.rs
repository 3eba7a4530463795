//! Waiting for an interrupt outside of the framework, and the virtual timer where the framework leaves it to us.
//!
//! With its own interrupt controller the framework does both itself. Where a WFI comes out nevertheless, the core sleeps
//! here until something may be pending.

use std::time::{Duration, Instant};

use hv_core::{
    arch::aarch64::{SystemRegister, timer},
    hypervisor::Result,
};

use super::HvfVcpu;
use crate::{
    framework::{self, Core, RedistributorRegister},
    park::Wake,
    timer::VirtualTimer,
};

/// How long an SGI of another core may stay unseen, at first and at most: the framework delivers it without telling.
const FIRST_LOOK: Duration = Duration::from_micros(20);
const LAST_LOOK: Duration = Duration::from_millis(1);

const TIMER: u64 = 1 << timer::VIRTUAL;

/// The virtual timer came out of the framework, which has masked it.
#[derive(Debug, Default)]
pub(super) struct TimerExit {
    is_masked: bool,
}

impl TimerExit {
    /// The timer fires: its interrupt is pending, and it is told no more until the guest has put its line down.
    pub(super) fn fired(&mut self, core: &mut Core) -> Result<()> {
        self.is_masked = true;
        core.set_redistributor(RedistributorRegister::ISPENDR0, TIMER)
    }

    /// Lets the framework tell of the timer again, once that is news.
    pub(super) fn before_entry(&mut self, core: &mut Core) -> Result<()> {
        if self.is_masked && virtual_timer(core)?.may_unmask(count(core)?) {
            self.is_masked = false;
            core.mask_virtual_timer(false)?;
        }
        Ok(())
    }
}

impl HvfVcpu {
    /// Sleeps until an interrupt may be pending for this core, or it has to look at its power state or a kick. Waking
    /// too often is allowed (Arm ARM, D1.6.2); the guest looks for itself.
    pub(super) fn wait_for_interrupt(&mut self) -> Result<()> {
        let cores = &self.shared.cores;
        if !cores.will_wait() {
            return Ok(());
        }
        let mut look = FIRST_LOOK;
        loop {
            let enabled = self.core.redistributor(RedistributorRegister::ISENABLER0)?;
            if enabled & self.core.redistributor(RedistributorRegister::ISPENDR0)? != 0 {
                return Ok(());
            }
            let timer = if enabled & TIMER == 0 { None } else { self.until_timer()? };
            let others = (cores.len() > 1).then_some(look);
            look = (look * 2).min(LAST_LOOK);
            let sleep = [timer, others].into_iter().flatten().min();
            // What is beyond the clock's range never comes.
            let deadline = sleep.and_then(|sleep| Instant::now().checked_add(sleep));
            if cores.power.wait_for_interrupt(self.index, deadline) != Wake::NONE {
                return Ok(());
            }
            if timer.is_some() && timer == sleep {
                return Ok(());
            }
        }
    }

    fn until_timer(&self) -> Result<Option<Duration>> {
        let count = count(&self.core)?;
        Ok(virtual_timer(&self.core)?.until_asserted(count, framework::counter_frequency()))
    }
}

fn virtual_timer(core: &Core) -> Result<VirtualTimer> {
    Ok(VirtualTimer {
        control: core.system_register(SystemRegister::CNTV_CTL_EL0)?,
        compare: core.system_register(SystemRegister::CNTV_CVAL_EL0)?,
    })
}

/// `CNTVCT_EL0`.
fn count(core: &Core) -> Result<u64> {
    Ok(framework::counter().wrapping_sub(core.virtual_timer_offset()?))
}
