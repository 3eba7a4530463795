//! Tests of the PL031.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use proptest::prelude::*;

use super::*;
use crate::devices::testing::{Level, accesses, play};

const NOW: u64 = 1_800_000_000;

/// A clock, its line, and the host's seconds since 1970.
fn clock() -> (Pl031, Arc<Level>, Arc<AtomicU64>) {
    let (level, line) = Level::new();
    let host = Arc::new(AtomicU64::new(NOW));
    let seconds = Arc::clone(&host);
    let now = move || SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.load(Ordering::Relaxed));
    (Pl031::new(line, now), level, host)
}

fn read(clock: &Pl031, offset: u64) -> u32 {
    let mut data = [0; 4];
    clock.read(offset, &mut data);
    u32::from_le_bytes(data)
}

fn write(clock: &Pl031, offset: u64, value: u32) {
    clock.write(offset, &value.to_le_bytes());
}

#[test]
fn it_runs_with_the_hosts_clock_from_power_on() {
    let (clock, _, host) = clock();
    assert_eq!((u64::from(read(&clock, DR)), read(&clock, CR)), (NOW, 1));
    host.fetch_add(3600, Ordering::Relaxed);
    assert_eq!(u64::from(read(&clock, DR)), NOW + 3600);
    host.store((1 << 32) + 5, Ordering::Relaxed);
    assert_eq!(read(&clock, DR), 5, "32 bits");
}

#[test]
fn the_guest_sets_it_and_a_reset_keeps_the_time() {
    let (clock, _, host) = clock();
    write(&clock, LR, 1000);
    host.fetch_add(5, Ordering::Relaxed);
    assert_eq!((read(&clock, DR), read(&clock, LR)), (1005, 1000));
    write(&clock, CR, 0);
    Device::reset(&clock);
    assert_eq!((read(&clock, DR), read(&clock, CR)), (1005, 1));
}

#[test]
fn an_alarm_that_has_passed_is_found_at_the_next_look() {
    let (clock, level, host) = clock();
    write(&clock, MR, u32::try_from(NOW).unwrap() + 10);
    write(&clock, IMSC, 1);
    host.fetch_add(9, Ordering::Relaxed);
    assert_eq!((read(&clock, RIS), level.is_high()), (0, false));
    host.fetch_add(5, Ordering::Relaxed);
    assert!(!level.is_high(), "nobody has looked");
    assert_eq!((read(&clock, RIS), read(&clock, MIS), level.is_high()), (1, 1, true));
    write(&clock, IMSC, 0);
    assert_eq!((read(&clock, RIS), read(&clock, MIS), level.is_high()), (1, 0, false));
    write(&clock, IMSC, 1);
    write(&clock, ICR, 1);
    assert_eq!((read(&clock, RIS), level.is_high()), (0, false));
    host.fetch_add(1000, Ordering::Relaxed);
    assert_eq!(read(&clock, RIS), 0, "once");
}

#[test]
fn an_alarm_for_now_comes_at_once_and_a_host_clock_set_back_brings_none() {
    let (clock, level, host) = clock();
    write(&clock, IMSC, 1);
    write(&clock, MR, u32::try_from(NOW).unwrap() - 50);
    host.fetch_sub(100, Ordering::Relaxed);
    assert!((read(&clock, RIS), level.is_high()) == (0, false));
    write(&clock, MR, u32::try_from(NOW).unwrap() - 100);
    assert!(level.is_high());
    Device::reset(&clock);
    assert_eq!((read(&clock, RIS), read(&clock, IMSC), level.is_high()), (0, 0, false));
}

/// By which Linux's AMBA bus chooses `rtc-pl031`, and the driver the plain Arm variant.
#[test]
fn it_identifies_itself() {
    let (clock, _, _) = clock();
    let word = |base: u64| (0..4).fold(0, |id, byte| id | read(&clock, base + byte * 4) << (byte * 8));
    assert_eq!((word(0xfe0), word(0xff0)), (0x0004_1031, 0xb105_f00d));
}

#[test]
fn a_host_clock_before_1970_is_1970() {
    let clock = Pl031::new(Level::new().1, || SystemTime::UNIX_EPOCH - Duration::from_secs(1));
    assert_eq!(read(&clock, DR), 0);
}

proptest! {
    #[test]
    fn any_access_is_answered(accesses in accesses(WINDOW)) {
        play([&clock().0, &clock().0], &accesses);
    }
}
