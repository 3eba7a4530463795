//! The PL061's registers, with the power button.

use std::sync::Arc;

use hv_core::{
    bus::BusDevice,
    device::Device,
    devices::pl061::{POWER_BUTTON, Pl061, WINDOW},
    irq::IrqLine,
    testing::RecordingChip,
};

use crate::{Input, twins::Access};

const SPI: u32 = 3;
const BUTTON: u8 = 1 << POWER_BUTTON;
const BUTTON_DATA: u64 = (BUTTON as u64) << 2;
const DIRECTION: u64 = 0x400;
const SENSE: u64 = 0x404;
const BOTH_EDGES: u64 = 0x408;
const EVENT: u64 = 0x40c;
const ENABLE: u64 = 0x410;
const RAW_STATUS: u64 = 0x414;
const MASKED_STATUS: u64 = 0x418;

const REGISTERS: [u64; 14] = [
    BUTTON_DATA,
    0x3fc,
    0x3dc,
    DIRECTION,
    SENSE,
    BOTH_EDGES,
    EVENT,
    ENABLE,
    RAW_STATUS,
    MASKED_STATUS,
    0x41c,
    0x41c,
    0x420,
    0xfe0,
];

/// Any accesses, and presses of the button.
///
/// The line is high exactly while an enabled interrupt is pending; a press is pending for who wants to hear of it, and
/// says whether somebody does; the button is up once it was looked at.
///
/// # Panics
/// The GPIO breaks one of these.
pub fn pl061(data: &[u8]) {
    let make = || {
        let chip = Arc::new(RecordingChip::default());
        (Pl061::new(IrqLine::new(chip.clone(), SPI)), chip)
    };
    let ((one, chip), (two, _)) = (make(), make());
    let mut input = Input::new(data);
    while !input.is_empty() {
        match input.u8() & 0xf {
            0 | 1 => press([&one, &two]),
            2 => {
                one.reset();
                two.reset();
            }
            _ => {
                let access = Access::read(&mut input, WINDOW).near(&mut input, &REGISTERS);
                access.play(&one, &two);
            }
        }
        let [raw, masked, enabled] = [RAW_STATUS, MASKED_STATUS, ENABLE].map(|offset| load(&one, offset));
        assert_eq!(masked, raw & enabled);
        assert_eq!(chip.line(SPI), masked != 0, "the line is not the masked status");
    }
    if load(&one, DIRECTION) & BUTTON == 0 {
        load(&one, BUTTON_DATA);
        assert_eq!(load(&one, BUTTON_DATA), 0, "the button stays down");
    }
}

fn press([one, two]: [&Pl061; 2]) {
    let listens = one.press_power_button();
    assert_eq!(listens, two.press_power_button());
    assert_eq!(listens, load(one, ENABLE) & BUTTON != 0);
    let is_set = |offset| load(one, offset) & BUTTON != 0;
    let rise_or_high = is_set(EVENT) || is_set(BOTH_EDGES) && !is_set(SENSE);
    if rise_or_high && !is_set(DIRECTION) {
        assert!(is_set(RAW_STATUS), "a press is lost");
    }
}

fn load(gpio: &Pl061, offset: u64) -> u8 {
    let mut data = [0];
    gpio.read(offset, &mut data);
    data[0]
}
