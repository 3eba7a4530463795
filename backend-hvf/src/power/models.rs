//! Models of cores that call, start, stop and kick each other, checked in every order of their steps by loom:
//! `cargo test -p backend-hvf --features models --lib models`.

use hv_core::arch::aarch64::psci::function::*;
use loom::{model, sync::Arc, thread};

use super::*;

const START: Start = Start { entry: 0x8000_0000, context: 7 };

fn call(function: u32, argument: u64) -> Call {
    Call::new([function.into(), argument, START.entry, START.context])
}

fn on<T: 'static>(
    power: Power,
    body: impl FnOnce(&Power) -> T + Send + 'static,
) -> (Arc<Power>, thread::JoinHandle<T>) {
    let power = Arc::new(power);
    let other = power.clone();
    (power, thread::spawn(move || body(&other)))
}

/// Core 1 lives until it is kicked; whether it was started before.
fn live_until_kicked(power: &Power) -> bool {
    let mut started = false;
    loop {
        match power.turn(1) {
            Turn::Start(start) => {
                assert!(!started && start == START);
                started = true;
            }
            Turn::Run => {
                power.wait_for_interrupt(1, None);
            }
            Turn::Kicked => return started,
        }
    }
}

#[test]
fn a_start_reaches_a_core_that_goes_to_bed() {
    model(|| {
        let (power, core) = on(Power::new(2, 36), |power| {
            assert_eq!(power.turn(1), Turn::Start(START));
            assert_eq!(power.turn(1), Turn::Run);
        });
        assert_eq!(power.call(0, call(CPU_ON_64, 1)), Outcome::Return(0));
        core.join().unwrap();
    });
}

#[test]
fn of_a_start_and_a_kick_none_is_lost() {
    model(|| {
        let (power, core) = on(Power::new(2, 36), live_until_kicked);
        power.call(0, call(CPU_ON_64, 1));
        power.kick(1);
        if !core.join().unwrap() {
            assert_eq!(power.turn(1), Turn::Start(START));
        }
        assert_eq!(power.turn(1), Turn::Run);
    });
}

/// The core goes off while it is kicked and started: it goes to bed and comes back for both.
#[test]
fn of_an_off_a_kick_and_a_start_none_is_lost() {
    model(|| {
        let power = Power::new(2, 36);
        power.call(0, call(CPU_ON_64, 1));
        assert_eq!(power.turn(1), Turn::Start(START));
        let (power, core) = on(power, |power| {
            assert_eq!(power.call(1, call(CPU_OFF, 0)), Outcome::Off);
            live_until_kicked(power)
        });
        power.kick(1);
        let answer = power.call(0, call(CPU_ON_64, 1));
        let started = core.join().unwrap();
        if answer == Outcome::Return(0) && !started {
            assert_eq!(power.turn(1), Turn::Start(START));
        } else if answer != Outcome::Return(0) {
            assert_eq!((answer, started), (Outcome::Return(code::ALREADY_ON), false));
            power.kick(1);
            assert_eq!(power.turn(1), Turn::Kicked);
        }
    });
}

#[test]
fn two_cores_that_start_a_third_start_it_once() {
    model(|| {
        let power = Power::new(3, 36);
        power.call(0, call(CPU_ON_64, 1));
        power.turn(1);
        let (power, other) = on(power, |power| {
            power.call(1, call(CPU_ON_64, 2));
        });
        power.call(0, call(CPU_ON_64, 2));
        assert_eq!(power.turn(2), Turn::Start(START));
        other.join().unwrap();
        assert_eq!(power.turn(2), Turn::Run);
    });
}

/// A stop reaches a core that waits for an interrupt, and one that is about to enter the guest is held at its next turn.
#[test]
fn a_stop_holds_a_core_that_waits() {
    model(|| {
        let power = Power::new(2, 36);
        power.call(0, call(CPU_ON_64, 1));
        power.turn(1);
        let (power, core) = on(power, |power| {
            power.wait_for_interrupt(1, None);
            assert_eq!(power.turn(1), Turn::Kicked);
        });
        assert_eq!(power.call(0, call(SYSTEM_OFF, 0)), Outcome::Stop(Stop::PowerOff));
        power.kick(1);
        core.join().unwrap();
    });
}

#[test]
fn an_interrupt_reaches_a_core_that_begins_to_wait() {
    model(|| {
        let (power, core) = on(Power::new(1, 36), |power| {
            assert_eq!(power.turn(0), Turn::Run);
            assert!(power.wait_for_interrupt(0, None).has(Wake::INTERRUPT));
        });
        power.interrupt_all();
        core.join().unwrap();
    });
}
