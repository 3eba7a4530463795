//! The real-time clock's registers, with any time of the host's.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use hv_core::{
    bus::BusDevice,
    device::Device,
    devices::cmos_rtc::{CmosRtc, WINDOW},
};

use crate::{Input, twins::Access};

/// Any accesses while the host's clock jumps; in the end the clock runs and shows a date of the calendar.
///
/// # Panics
/// It shows none.
pub fn cmos(data: &[u8]) {
    let milliseconds = Arc::new(AtomicU64::new(0));
    let make = || {
        let milliseconds = Arc::clone(&milliseconds);
        CmosRtc::new(move || {
            let since = Duration::from_millis(milliseconds.load(Ordering::Relaxed));
            SystemTime::UNIX_EPOCH.checked_add(since).unwrap_or(SystemTime::UNIX_EPOCH)
        })
    };
    let (one, two) = (make(), make());
    let mut input = Input::new(data);
    while !input.is_empty() {
        match input.u8() & 0xf {
            0 => milliseconds.store(input.number(), Ordering::Relaxed),
            1 => {
                one.reset();
                two.reset();
            }
            // A register by its index, as drivers do.
            2..8 => {
                let index = input.u8();
                one.write(0, &[index]);
                two.write(0, &[index]);
            }
            _ => drop(Access::read(&mut input, WINDOW).play(&one, &two)),
        }
    }
    check_date(&one);
}

/// Binary, 24 hours, running: each field is within its range.
fn check_date(clock: &CmosRtc) {
    let read = |index| {
        clock.write(0, &[index]);
        let mut value = [0];
        clock.read(1, &mut value);
        value[0]
    };
    clock.write(0, &[0x0b]);
    clock.write(1, &[0x06]);
    let ranges = [(0, 0..=59), (2, 0..=59), (4, 0..=23), (6, 1..=7), (7, 1..=31), (8, 1..=12), (9, 0..=99)];
    for (index, range) in ranges {
        let value = read(index);
        assert!(range.contains(&value), "register {index:#x} holds {value}");
    }
    assert_eq!((read(0x0c), read(0x0d)), (0, 0x80), "no interrupt, good battery");
}
