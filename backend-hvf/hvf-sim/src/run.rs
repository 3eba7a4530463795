//! `hv_vcpu_run`: the guest runs until there is something for its owner.

use std::{
    sync::atomic::Ordering::SeqCst,
    time::{Duration, Instant},
};

use crate::{
    engine::{self, COUNTER_FREQUENCY, Exception, Leave, Timer},
    error::{Error, Result},
    gic::{LINE_FIQ, LINE_IRQ, VIRTUAL_TIMER},
    vcpu::Vcpu,
    waits_for_interrupt,
};

/// Why a run ends (`hv_exit_reason_t`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    Canceled,
    Exception(Exception),
    VirtualTimer,
    Unknown,
}

/// `CNTV_CTL_EL0`: ENABLE, IMASK, ISTATUS.
const TIMER_BITS: u64 = 7;
const TIMER_DUE: u64 = 0b101;
const TIMER_ARMED: u64 = 0b001;
/// A deadline further away is looked at again.
const FAR: Duration = Duration::from_secs(3600);

const EC_WAIT: u64 = 0x01;
const EC_SYSTEM_REGISTER: u64 = 0x18;
const EC_DATA_ABORT: u64 = 0x24;

/// Runs the vCPU.
pub(crate) fn run(vcpu: &mut Vcpu) -> Result<Exit> {
    // Header (`hv_gic_create`): vCPUs must set their affinity. Model: one that has not does not run.
    if vcpu.affinity.is_none() && vcpu.vm.gic().is_some() {
        return Err(Error::IllegalGuestState);
    }
    vcpu.has_run = true;
    vcpu.vm.has_run.store(true, SeqCst);
    vcpu.parking.running.store(true, SeqCst);
    let exit = until_exit(vcpu);
    vcpu.parking.running.store(false, SeqCst);
    // Header (`hv_vcpu_set_pending_interrupt`): cleared when hv_vcpu_run returns, to be set before every run.
    vcpu.pending = [false; 2];
    exit
}

fn until_exit(vcpu: &mut Vcpu) -> Result<Exit> {
    loop {
        // Also if it was said before the run (peer: all of them rely on it): a cancel is never lost.
        if vcpu.parking.take_canceled() {
            return Ok(Exit::Canceled);
        }
        let has_gic = set_timer_line(vcpu);
        let timer = vcpu.context.timer();
        let is_due = timer.control & TIMER_BITS == TIMER_DUE;
        if is_due && !has_gic && !vcpu.timer_masked {
            // Header (`HV_EXIT_REASON_VTIMER_ACTIVATED`): the timer is masked until its owner unmasks it.
            vcpu.timer_masked = true;
            return Ok(Exit::VirtualTimer);
        }
        let deadline = if has_gic || !vcpu.timer_masked { deadline(&timer) } else { None };
        match stay(vcpu, deadline) {
            Leave::Stopped => {}
            Leave::Broken(_) => return Ok(Exit::Unknown),
            Leave::Exception(exception) => {
                if !handled(vcpu, &exception, has_gic, deadline) {
                    return Ok(Exit::Exception(exception));
                }
            }
        }
    }
}

/// One stay in the guest, as long as it has the processor and nothing changes.
fn stay(vcpu: &mut Vcpu, deadline: Option<Instant>) -> Leave {
    let vm = &vcpu.vm;
    let turn = vm.turns.take(&mut vcpu.rest);
    vm.on_processor.store(vcpu.index + 1, SeqCst);
    vm.turns.clear_stop();
    // What is told from here on stops the processor; what was told before is seen below.
    let lines = vcpu.parking.lines();
    let leave = if vcpu.parking.is_canceled() {
        Leave::Stopped
    } else {
        vm.alarm.set(deadline);
        let is_same = vm.last.swap(vcpu.index + 1, SeqCst) == vcpu.index + 1;
        turn.load(&mut vcpu.context, is_same);
        let begin = Instant::now();
        let irq = lines & LINE_IRQ != 0 || vcpu.pending[0];
        let fiq = lines & LINE_FIQ != 0 || vcpu.pending[1];
        let leave = turn.run(&mut vcpu.context, irq, fiq);
        vcpu.time += begin.elapsed();
        leave
    };
    vm.on_processor.store(0, SeqCst);
    leave
}

/// When the virtual timer fires, if it will.
fn deadline(timer: &Timer) -> Option<Instant> {
    if timer.control & TIMER_BITS != TIMER_ARMED {
        return None;
    }
    let ticks = timer.compare.saturating_sub(engine::counter().wrapping_sub(timer.offset));
    // Rounded up: a tick early is too early.
    let nanoseconds = (u128::from(ticks) * 1_000_000_000).div_ceil(u128::from(COUNTER_FREQUENCY));
    let left = u64::try_from(nanoseconds).map_or(FAR, Duration::from_nanos).min(FAR);
    Some(Instant::now() + left)
}

/// Deals with what never reaches the owner: the GIC's registers, and waits that end inside.
fn handled(vcpu: &mut Vcpu, exception: &Exception, has_gic: bool, deadline: Option<Instant>) -> bool {
    match exception.syndrome >> 26 & 0x3f {
        EC_WAIT if exception.syndrome & 1 == 0 => wait(vcpu, has_gic, deadline),
        EC_SYSTEM_REGISTER if has_gic => interface_access(vcpu, exception.syndrome),
        EC_DATA_ABORT if has_gic => memory_access(vcpu, exception),
        _ => false,
    }
}

/// `WFI`. An interrupt that is there already ends it (Arm ARM D1.7.1), whether PSTATE masks it or not.
fn wait(vcpu: &mut Vcpu, has_gic: bool, deadline: Option<Instant>) -> bool {
    set_timer_line(vcpu);
    if vcpu.parking.lines() == 0 {
        if !waits_for_interrupt() {
            return false;
        }
        vcpu.parking.wait(deadline);
        if set_timer_line(vcpu) && vcpu.parking.lines() == 0 {
            // The timer's interrupt is disabled: another has to come.
            vcpu.parking.wait(None);
        }
        let is_over = if has_gic { vcpu.parking.lines() != 0 } else { is_due(vcpu) };
        if !is_over {
            // Canceled. It goes on waiting when the vCPU runs again.
            return true;
        }
    }
    vcpu.context.advance();
    true
}

/// Drives the timer's line into the GIC. Answers whether there is one.
fn set_timer_line(vcpu: &Vcpu) -> bool {
    let is_due = is_due(vcpu);
    let Some(mut gic) = vcpu.vm.gic() else { return false };
    // Model: with a GIC of the framework the timer is a line into it, and never an exit.
    if gic.set_private_line(vcpu.index, VIRTUAL_TIMER, is_due) {
        vcpu.vm.tell_lines(&gic);
    }
    true
}

fn is_due(vcpu: &Vcpu) -> bool {
    vcpu.context.timer().control & TIMER_BITS == TIMER_DUE
}

/// An MSR or MRS of the GIC's CPU interface.
fn interface_access(vcpu: &mut Vcpu, syndrome: u64) -> bool {
    let field = |low: u32, bits: u32| (syndrome >> low) & ((1 << bits) - 1);
    // ISS: Op0 20, Op2 17, Op1 14, CRn 10, Rt 5, CRm 1, read 0 (Arm ARM, ESR_ELx for EC 0x18).
    let register =
        field(20, 2) << 14 | field(14, 3) << 11 | field(10, 4) << 7 | field(1, 4) << 3 | field(17, 3);
    let (Ok(register), Ok(rt)) = (u16::try_from(register), u32::try_from(field(5, 5))) else { return false };
    let index = vcpu.index;
    let done = if syndrome & 1 == 1 {
        let value = vcpu.vm.with_gic(|gic| gic.read_interface(index, register)).flatten();
        value.map(|value| vcpu.context.set_x(rt, value)).is_some()
    } else {
        let value = vcpu.context.x(rt);
        vcpu.vm.with_gic(|gic| gic.write_interface(index, register, value)).unwrap_or(false)
    };
    if done {
        vcpu.context.advance();
    }
    done
}

/// A load or store of the GIC's registers. Model: one that the syndrome does not describe (ISV clear) goes to the owner.
fn memory_access(vcpu: &mut Vcpu, exception: &Exception) -> bool {
    let syndrome = exception.syndrome;
    let field = |low: u32, bits: u32| (syndrome >> low) & ((1 << bits) - 1);
    // ISS: ISV 24, SAS 22, SSE 21, SRT 16, SF 15, WnR 6, DFSC 0.
    if field(24, 1) == 0 || field(2, 4) != 1 {
        return false;
    }
    let (Ok(sas), Ok(rt)) = (u32::try_from(field(22, 2)), u32::try_from(field(16, 5))) else { return false };
    let size = 1 << sas;
    let mask = u64::MAX >> (64 - 8 * size);
    let address = exception.physical_address;
    let done = if field(6, 1) == 1 {
        let value = vcpu.context.x(rt) & mask;
        vcpu.vm.with_gic(|gic| gic.write_memory(address, size, value)).unwrap_or(false)
    } else {
        let value = vcpu.vm.with_gic(|gic| gic.read_memory(address, size)).flatten();
        value.is_some_and(|value| {
            let unused = 64 - 8 * size;
            let extended = (value << unused).cast_signed() >> unused;
            let value = if field(21, 1) == 1 { extended.cast_unsigned() } else { value & mask };
            let value = if field(15, 1) == 1 { value } else { value & 0xffff_ffff };
            vcpu.context.set_x(rt, value);
            true
        })
    };
    if done {
        vcpu.context.advance();
    }
    done
}
