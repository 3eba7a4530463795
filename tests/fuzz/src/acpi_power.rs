//! The ACPI fixed hardware's registers, with the power button.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use hv_core::{
    bus::BusDevice,
    device::Device,
    devices::acpi_power::{
        AcpiPower, CONTROL_BLOCK, RESET_REGISTER, RESET_VALUE, SLP_TYP_S5, TIMER_BLOCK, TIMER_HZ, WINDOW,
    },
    irq::IrqLine,
    testing::RecordingChip,
};

use crate::{Input, sink::PowerCounter, twins::Access};

const SCI: u32 = 9;

/// Any accesses, presses of the button, time that passes.
///
/// The SCI is high exactly while an enabled status bit is set; power-off and reset come when asked for and only then;
/// the timer shows the time.
///
/// # Panics
/// The hardware breaks one of these.
pub fn acpi_power(data: &[u8]) {
    let nanoseconds = Arc::new(AtomicU64::new(0));
    let make = || {
        let (chip, power) = (Arc::new(RecordingChip::default()), Arc::new(PowerCounter::default()));
        let clock = Arc::clone(&nanoseconds);
        let clock = move || Duration::from_nanos(clock.load(Ordering::Relaxed));
        (AcpiPower::new(IrqLine::new(chip.clone(), SCI), power.clone(), clock), chip, power)
    };
    let ((one, chip, power), (two, _, _)) = (make(), make());
    let mut input = Input::new(data);
    while !input.is_empty() {
        match input.u8() & 0xf {
            0 => {
                one.press_power_button();
                two.press_power_button();
            }
            1 => {
                nanoseconds.fetch_add(input.number() >> 8, Ordering::Relaxed);
            }
            2 => {
                one.reset();
                two.reset();
            }
            _ => step(&Access::read(&mut input, WINDOW), [&one, &two], &power),
        }
        let [status, enable, ..] = words(&one);
        assert_eq!(chip.line(SCI), status & enable != 0, "SCI, status {status:#x}, enable {enable:#x}");
        let ticks = u128::from(nanoseconds.load(Ordering::Relaxed)) * u128::from(TIMER_HZ) / 1_000_000_000;
        let mut timer = [0; 4];
        one.read(TIMER_BLOCK, &mut timer);
        assert_eq!(timer[..], ticks.to_le_bytes()[..4]);
    }
}

fn step(access: &Access, [one, two]: [&AcpiPower; 2], power: &PowerCounter) {
    let before = power.counts();
    access.play(one, two);
    let after = power.counts();
    let sleep = access.stored_at(CONTROL_BLOCK + 1);
    let asked = sleep.is_some_and(|value| value & 0x20 != 0 && value >> 2 & 7 == SLP_TYP_S5);
    assert_eq!(after.0 - before.0, u32::from(asked), "power-off");
    let asked = access.stored_at(RESET_REGISTER) == Some(RESET_VALUE);
    assert_eq!(after.1 - before.1, u32::from(asked), "reset");
}

fn words(hardware: &AcpiPower) -> [u16; 2] {
    let mut bytes = [0; 4];
    hardware.read(0, &mut bytes);
    let [a, b, c, d] = bytes;
    [u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d])]
}
