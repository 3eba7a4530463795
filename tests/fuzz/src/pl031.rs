//! The PL031's registers, with any time of the host's.

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
    devices::pl031::{Pl031, WINDOW},
    irq::IrqLine,
    testing::RecordingChip,
};

use crate::{Input, twins::Access};

const SPI: u32 = 2;
const DATA: u64 = 0x00;
const LOAD: u64 = 0x08;
const RAW_STATUS: u64 = 0x14;
const MASKED_STATUS: u64 = 0x18;

const REGISTERS: [u64; 10] = [DATA, 0x04, LOAD, 0x0c, 0x10, RAW_STATUS, MASKED_STATUS, 0x1c, 0xfe4, 0xff8];

/// Any accesses while the host's clock jumps.
///
/// The clock is as far ahead of the host's as it was when the guest last set it; the line is high exactly while an
/// enabled interrupt is pending.
///
/// # Panics
/// The clock breaks one of these.
pub fn pl031(data: &[u8]) {
    let host = Arc::new(AtomicU64::new(0));
    let make = || {
        let (chip, host) = (Arc::new(RecordingChip::default()), Arc::clone(&host));
        let now = move || {
            let since = Duration::from_secs(host.load(Ordering::Relaxed));
            SystemTime::UNIX_EPOCH.checked_add(since).unwrap_or(SystemTime::UNIX_EPOCH)
        };
        (Pl031::new(IrqLine::new(chip.clone(), SPI), now), chip)
    };
    let ((one, chip), (two, _)) = (make(), make());
    let mut input = Input::new(data);
    let mut ahead = 0_u32;
    while !input.is_empty() {
        match input.u8() & 0xf {
            0..=3 => {
                let seconds = host.load(Ordering::Relaxed).wrapping_add(input.number());
                // Some way this side of the end of the host's time.
                host.store(seconds >> 8, Ordering::Relaxed);
            }
            4 => {
                one.reset();
                two.reset();
            }
            _ => {
                let access = Access::read(&mut input, WINDOW).near(&mut input, &REGISTERS);
                access.play(&one, &two);
                if let (LOAD, Some(store)) = (access.offset, &access.store) {
                    let mut value = [0; 4];
                    value.iter_mut().zip(store).for_each(|(byte, stored)| *byte = *stored);
                    ahead = u32::from_le_bytes(value).wrapping_sub(seconds(&host));
                }
            }
        }
        assert_eq!(load([&one, &two], DATA), seconds(&host).wrapping_add(ahead));
        let [raw, masked] = [RAW_STATUS, MASKED_STATUS].map(|offset| load([&one, &two], offset));
        assert!(masked <= raw && raw <= 1);
        assert_eq!(chip.line(SPI), masked != 0, "the line is not the masked status");
    }
}

/// The lower half of the host's seconds.
fn seconds(host: &AtomicU64) -> u32 {
    let [low @ .., _, _, _, _] = host.load(Ordering::Relaxed).to_le_bytes();
    u32::from_le_bytes(low)
}

fn load(clocks: [&Pl031; 2], offset: u64) -> u32 {
    let [one, two] = clocks.map(|clock| {
        let mut data = [0; 4];
        clock.read(offset, &mut data);
        u32::from_le_bytes(data)
    });
    assert_eq!(one, two);
    one
}
