//! Tests of the cores' power states.

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use hv_core::arch::aarch64::psci::function::*;

use super::*;

const START: Start = Start { entry: 0x8000_0000, context: 7 };

fn call(function: u32, argument: u64) -> Call {
    Call::new([function.into(), argument, START.entry, START.context])
}

fn started(vcpus: u32) -> Power {
    let power = Power::new(vcpus, 36);
    for index in 1..vcpus {
        assert_eq!(power.call(0, call(CPU_ON_64, index.into())), Outcome::Return(0));
        assert_eq!(power.turn(index), Turn::Start(START));
    }
    power
}

#[test]
fn the_first_core_runs_and_a_started_one_begins_once() {
    let power = started(2);
    assert_eq!((power.turn(0), power.turn(1), power.turn(1)), (Turn::Run, Turn::Run, Turn::Run));
}

#[test]
fn a_core_that_is_off_comes_back_for_kicks_and_waits_for_its_start() {
    let power = Arc::new(Power::new(2, 36));
    power.kick(1);
    power.kick(1);
    assert_eq!(power.turn(1), Turn::Kicked);
    let sleeper = thread::spawn({
        let power = power.clone();
        move || power.turn(1)
    });
    assert_eq!(power.call(0, call(CPU_ON_64, 1)), Outcome::Return(0));
    assert_eq!(sleeper.join().unwrap(), Turn::Start(START));
}

#[test]
fn an_interrupt_does_not_start_a_core() {
    let power = Power::new(2, 36);
    power.interrupt_all();
    power.kick(1);
    assert_eq!(power.turn(1), Turn::Kicked);
    assert_eq!(power.call(0, call(AFFINITY_INFO_64, 1)), Outcome::Return(0xffff_ffff_ffff_fffe));
    assert_eq!(power.call(0, Call::new([AFFINITY_INFO_64.into(), 1, 0, 0])), Outcome::Return(1));
}

#[test]
fn a_kick_comes_first_and_takes_no_start_away() {
    let power = Power::new(2, 36);
    power.call(0, call(CPU_ON_64, 1));
    power.kick(1);
    assert_eq!((power.turn(1), power.turn(1), power.turn(1)), (Turn::Kicked, Turn::Start(START), Turn::Run));
}

#[test]
fn a_core_that_went_off_can_be_started_again() {
    let power = started(2);
    assert_eq!(power.call(1, call(CPU_OFF, 0)), Outcome::Off);
    power.kick(1);
    assert_eq!(power.turn(1), Turn::Kicked);
    power.call(0, call(CPU_ON_64, 1));
    assert_eq!((power.turn(1), power.turn(1)), (Turn::Start(START), Turn::Run));
}

#[test]
fn a_core_that_waits_wakes_for_an_interrupt_a_kick_a_stop_or_its_deadline() {
    let power = started(2);
    power.interrupt(1);
    assert!(power.wait_for_interrupt(1, None).has(Wake::INTERRUPT));
    let soon = Instant::now() + Duration::from_millis(1);
    assert_eq!(power.wait_for_interrupt(1, Some(soon)), Wake::NONE, "the interrupt was taken");
    power.kick(1);
    assert_eq!(power.wait_for_interrupt(1, None), Wake::KICK);
    assert_eq!(power.turn(1), Turn::Kicked);
    power.call(0, call(SYSTEM_OFF, 0));
    assert_ne!(power.wait_for_interrupt(1, None), Wake::NONE);
}

#[test]
fn a_stop_holds_every_core_until_the_reset() {
    for (function, stop) in [(SYSTEM_OFF, Stop::PowerOff), (SYSTEM_RESET, Stop::Reset)] {
        let power = started(3);
        power.call(0, call(CPU_OFF, 0));
        assert_eq!(power.call(2, call(function, 0)), Outcome::Stop(stop));
        for index in 0..3 {
            power.kick(index);
            assert_eq!(power.turn(index), Turn::Kicked);
        }
        // A start that comes too late begins nothing.
        power.call(1, call(CPU_ON_64, 0));
        power.kick(0);
        assert_eq!(power.turn(0), Turn::Kicked);
        power.reset();
        power.kick(1);
        assert_eq!((power.turn(0), power.turn(1)), (Turn::Run, Turn::Kicked));
        power.call(0, call(CPU_ON_64, 1));
        assert_eq!(power.turn(1), Turn::Start(START));
    }
}

#[test]
fn a_suspended_core_goes_on_with_success() {
    assert_eq!(Power::new(1, 36).call(0, call(CPU_SUSPEND_64, 0)), Outcome::Suspend(0));
}

#[test]
fn a_core_that_is_not_there_does_nothing() {
    let power = Power::new(1, 36);
    power.kick(1);
    power.interrupt(1);
    assert_eq!((power.turn(1), power.wait_for_interrupt(1, None)), (Turn::Kicked, Wake::NONE));
    assert_eq!(power.turn(0), Turn::Run);
}
