//! Tests of the ACPI fixed hardware.

use proptest::prelude::*;

use super::*;
use crate::devices::testing::{Level, PowerCounter, accesses, play};

const HALF_A_SECOND: Duration = Duration::from_millis(500);

fn device() -> (AcpiPower, Arc<Level>, Arc<PowerCounter>) {
    let (level, line) = Level::new();
    let power = Arc::new(PowerCounter::default());
    (AcpiPower::new(line, power.clone(), || HALF_A_SECOND), level, power)
}

fn read16(device: &AcpiPower, offset: u64) -> u16 {
    let mut data = [0; 2];
    device.read(offset, &mut data);
    u16::from_le_bytes(data)
}

#[test]
fn the_machine_is_in_acpi_mode() {
    assert_eq!(read16(&device().0, CONTROL_BLOCK), 1);
}

#[test]
fn the_timer_counts_at_its_frequency_and_wraps_at_32_bits() {
    let read = |clock: Duration| {
        let device = AcpiPower::new(Level::new().1, Arc::new(PowerCounter::default()), move || clock);
        let mut data = [0; 4];
        device.read(TIMER_BLOCK, &mut data);
        u32::from_le_bytes(data)
    };
    assert_eq!(read(HALF_A_SECOND), TIMER_HZ / 2);
    assert_eq!(
        read(Duration::from_secs(1200)),
        u32::try_from(1200 * u64::from(TIMER_HZ) % (1 << 32)).unwrap()
    );
    read(Duration::MAX);
}

#[test]
fn the_power_button_is_a_status_bit_and_a_level() {
    let (device, sci, _) = device();
    assert!(!device.press_power_button(), "nobody listens yet");
    assert!(!sci.is_high());
    device.write(EVENT_BLOCK + 2, &PWRBTN.to_le_bytes());
    assert!(sci.is_high());
    device.write(EVENT_BLOCK, &PWRBTN.to_le_bytes());
    assert!(!sci.is_high());
    assert_eq!(read16(&device, EVENT_BLOCK), 0);
    assert!(device.press_power_button());
    assert!(sci.is_high());
    assert_eq!(read16(&device, EVENT_BLOCK), PWRBTN);
    Device::reset(&device);
    assert!(!sci.is_high());
    assert_eq!(read16(&device, EVENT_BLOCK + 2), 0);
}

#[test]
fn writing_zero_clears_no_status() {
    let (device, ..) = device();
    device.press_power_button();
    device.write(EVENT_BLOCK, &[0, 0]);
    device.write(EVENT_BLOCK, &(!PWRBTN).to_le_bytes());
    assert_eq!(read16(&device, EVENT_BLOCK), PWRBTN);
}

#[test]
fn only_s5_with_slp_en_powers_off() {
    let (device, _, power) = device();
    let control = |sleep_type: u16, enable: bool| {
        device.write(CONTROL_BLOCK, &(1 | sleep_type << 10 | u16::from(enable) << 13).to_le_bytes());
    };
    control(u16::from(SLP_TYP_S5), false);
    control(0, true);
    control(7, true);
    assert_eq!(power.counts(), (0, 0));
    control(u16::from(SLP_TYP_S5), true);
    assert_eq!(power.counts(), (1, 0));
}

#[test]
fn only_the_reset_value_resets() {
    let (device, _, power) = device();
    device.write(RESET_REGISTER, &[0]);
    device.write(RESET_REGISTER, &[6]);
    assert_eq!(power.counts(), (0, 0));
    device.write(RESET_REGISTER, &[RESET_VALUE]);
    assert_eq!(power.counts(), (0, 1));
}

proptest! {
    #[test]
    fn any_access_is_answered(accesses in accesses(WINDOW)) {
        play([&device().0, &device().0], &accesses);
    }
}
