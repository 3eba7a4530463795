//! Tests of the real-time clock.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use proptest::prelude::*;

use super::*;
use crate::devices::testing::{accesses, play};

/// 2024-02-29 21:58:59 UTC, a Thursday.
const LEAP_DAY: u64 = 1_709_243_939;

/// A device and its clock in milliseconds.
fn device() -> (CmosRtc, Arc<AtomicU64>) {
    let millis = Arc::new(AtomicU64::new(LEAP_DAY * 1000));
    let clock = millis.clone();
    let now = move || SystemTime::UNIX_EPOCH + Duration::from_millis(clock.load(Ordering::SeqCst));
    (CmosRtc::new(now), millis)
}

fn read(device: &CmosRtc, index: u8) -> u8 {
    let mut data = [0];
    device.write(0, &[index]);
    device.read(1, &mut data);
    data[0]
}

fn write(device: &CmosRtc, index: u8, value: u8) {
    device.write(0, &[index]);
    device.write(1, &[value]);
}

fn time(device: &CmosRtc) -> [u8; 8] {
    [CENTURY, 9, 8, 7, 6, 4, 2, 0].map(|index| read(device, index))
}

#[test]
fn bcd_and_24_hours_at_power_on() {
    let (device, _) = device();
    assert_eq!(read(&device, REGISTER_B), HOURS_24);
    assert_eq!(read(&device, REGISTER_D), VRT);
    assert_eq!(time(&device), [0x20, 0x24, 0x02, 0x29, 5, 0x21, 0x58, 0x59]);
}

#[test]
fn binary_and_12_hours_when_asked() {
    let (device, millis) = device();
    write(&device, REGISTER_B, BINARY);
    assert_eq!(time(&device), [20, 24, 2, 29, 5, 9 | PM, 58, 59]);
    write(&device, REGISTER_B, 0);
    let mut hours = Vec::new();
    for _ in 0..24 {
        hours.push(read(&device, 4));
        millis.fetch_add(3_600_000, Ordering::SeqCst);
    }
    assert_eq!(hours[..6], [0x89, 0x90, 0x91, 0x12, 0x01, 0x02]);
    assert_eq!(hours[14..17], [0x11, 0x92, 0x81]);
}

#[test]
fn the_time_goes_on_with_the_clock() {
    let (device, millis) = device();
    millis.fetch_add(2 * 3_600_000 + 61_000, Ordering::SeqCst);
    assert_eq!(time(&device), [0x20, 0x24, 0x03, 0x01, 6, 0x00, 0x00, 0x00]);
}

#[test]
fn an_update_is_announced_and_passes() {
    let (device, millis) = device();
    assert_eq!(read(&device, REGISTER_A), A_POWER_ON);
    let nanos = Duration::new(LEAP_DAY, 999_900_000);
    assert!(device.registers().update_in_progress(nanos));
    millis.fetch_add(999, Ordering::SeqCst);
    assert_eq!(read(&device, REGISTER_A) & UIP, 0);
}

#[test]
fn a_time_that_the_guest_sets_goes_on_from_there() {
    let (device, millis) = device();
    write(&device, REGISTER_B, SET | HOURS_24);
    for (index, value) in [(CENTURY, 0x19), (9, 0x99), (8, 0x12), (7, 0x31), (4, 0x23), (2, 0x59), (0, 0x50)]
    {
        write(&device, index, value);
    }
    millis.fetch_add(100_000, Ordering::SeqCst);
    assert_eq!(time(&device)[5..], [0x23, 0x59, 0x50], "stopped");
    write(&device, REGISTER_B, HOURS_24);
    Device::reset(&device);
    millis.fetch_add(10_000, Ordering::SeqCst);
    assert_eq!(time(&device), [0x20, 0x00, 0x01, 0x01, 7, 0x00, 0x00, 0x00]);
}

#[test]
fn ram_is_kept_over_a_reset_and_interrupts_are_not() {
    let (device, _) = device();
    write(&device, 0x40, 0xa5);
    write(&device, REGISTER_B, 0x70 | HOURS_24);
    Device::reset(&device);
    assert_eq!(read(&device, 0x40), 0xa5);
    assert_eq!(read(&device, REGISTER_B), HOURS_24);
    assert_eq!(read(&device, REGISTER_C), 0);
}

#[test]
fn the_index_ignores_the_nmi_mask() {
    let (device, _) = device();
    assert_eq!(read(&device, 0x80 | REGISTER_D), VRT);
}

proptest! {
    #[test]
    fn any_access_is_answered(accesses in accesses(WINDOW)) {
        play([&device().0, &device().0], &accesses);
    }

    /// What the guest writes to a field it reads back, in every format.
    #[test]
    fn a_set_hour_reads_back(hour in 0u8..24, control in prop::bits::u8::masked(BINARY | HOURS_24)) {
        let (device, _) = device();
        write(&device, REGISTER_B, SET | control);
        let value = device.registers().encode(4, hour);
        write(&device, 4, value);
        prop_assert_eq!(read(&device, 4), value);
        prop_assert_eq!(device.registers().decode(4, value), hour);
    }
}
