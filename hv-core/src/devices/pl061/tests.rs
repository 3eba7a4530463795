//! Tests of the PL061.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::devices::testing::{Level, accesses, play};

const DIR: u64 = 0x400;
const IS: u64 = 0x404;
const IBE: u64 = 0x408;
const IEV: u64 = 0x40c;
const IE: u64 = 0x410;
const RIS: u64 = 0x414;
const MIS: u64 = 0x418;
const IC: u64 = 0x41c;

const BUTTON: u8 = 1 << POWER_BUTTON;
/// The data register's place that shows the button alone.
const BUTTON_DATA: u64 = (BUTTON as u64) << 2;
const ALL_DATA: u64 = 0x3fc;

fn gpio() -> (Pl061, Arc<Level>) {
    let (level, line) = Level::new();
    (Pl061::new(line), level)
}

fn read(gpio: &Pl061, offset: u64) -> u8 {
    let mut data = [0];
    gpio.read(offset, &mut data);
    data[0]
}

fn write(gpio: &Pl061, offset: u64, value: u8) {
    gpio.write(offset, &[value]);
}

/// As `gpio-pl061` and `gpio-keys` of Linux set the button up: an input, both edges.
fn linux() -> (Pl061, Arc<Level>) {
    let (gpio, level) = gpio();
    write(&gpio, IE, 0);
    write(&gpio, DIR, 0);
    write(&gpio, IS, 0);
    write(&gpio, IBE, BUTTON);
    write(&gpio, IE, BUTTON);
    (gpio, level)
}

/// The chained interrupt handler acknowledges what is pending; the key is looked at when it has settled.
fn acknowledge(gpio: &Pl061) {
    let pending = read(gpio, MIS);
    assert_eq!(pending, BUTTON);
    write(gpio, IC, pending);
}

#[test]
fn linux_sees_a_press_and_a_release() {
    let (gpio, level) = linux();
    for _ in 0..2 {
        assert!(gpio.press_power_button());
        assert!(level.is_high());
        acknowledge(&gpio);
        assert!(!level.is_high());
        assert_eq!(read(&gpio, BUTTON_DATA), BUTTON, "still down when it is looked at after the debounce");
        assert!(level.is_high(), "and up, with an interrupt of its own, once it was seen");
        acknowledge(&gpio);
        assert_eq!(read(&gpio, BUTTON_DATA), 0);
        assert!(!level.is_high());
    }
}

#[test]
fn a_press_before_the_guest_listens_is_found_when_it_first_looks() {
    let (gpio, level) = gpio();
    assert!(!gpio.press_power_button());
    assert!(!level.is_high());
    write(&gpio, IBE, BUTTON);
    write(&gpio, IE, BUTTON);
    assert_eq!(read(&gpio, BUTTON_DATA), BUTTON, "gpio-keys reports the state when it is opened");
    acknowledge(&gpio);
    assert_eq!(read(&gpio, BUTTON_DATA), 0);
}

#[test]
fn a_second_press_before_the_first_was_seen_is_an_edge_too() {
    let (gpio, level) = linux();
    gpio.press_power_button();
    acknowledge(&gpio);
    gpio.press_power_button();
    assert!(level.is_high());
    acknowledge(&gpio);
    assert_eq!(read(&gpio, BUTTON_DATA), BUTTON);
    acknowledge(&gpio);
    assert_eq!((read(&gpio, BUTTON_DATA), level.is_high()), (0, false));
}

/// As ACPI's GPIO events are handled: nobody reads the line.
#[test]
fn a_guest_that_hears_of_the_press_only_releases_by_acknowledging() {
    for sense in [0, BUTTON] {
        let (gpio, level) = gpio();
        write(&gpio, IS, sense);
        write(&gpio, IEV, BUTTON);
        write(&gpio, IE, BUTTON);
        for _ in 0..2 {
            assert!(gpio.press_power_button());
            assert!(level.is_high());
            acknowledge(&gpio);
            assert_eq!((level.is_high(), read(&gpio, BUTTON_DATA)), (false, 0));
        }
    }
}

#[test]
fn loads_of_other_lines_do_not_release_the_button() {
    let (gpio, _) = linux();
    gpio.press_power_button();
    assert_eq!(read(&gpio, u64::from(!BUTTON) << 2), 0);
    gpio.read(BUTTON_DATA + 1, &mut [0]);
    write(&gpio, BUTTON_DATA, 0);
    assert_eq!(read(&gpio, ALL_DATA), BUTTON);
    assert_eq!(read(&gpio, ALL_DATA), 0);
}

#[test]
fn only_outputs_take_values_and_only_those_of_the_address() {
    let (gpio, _) = gpio();
    write(&gpio, DIR, 0xf0);
    write(&gpio, ALL_DATA, 0xff);
    assert_eq!(read(&gpio, ALL_DATA), 0xf0);
    write(&gpio, 0x90 << 2, 0x10);
    assert_eq!(read(&gpio, ALL_DATA), 0x70);
    assert_eq!(read(&gpio, 0x30 << 2), 0x30);
}

#[test]
fn edges_are_kept_whether_enabled_or_not_and_levels_are_not() {
    let (gpio, level) = gpio();
    write(&gpio, DIR, 0x01);
    write(&gpio, IEV, 0x01);
    write(&gpio, 0x004, 1);
    write(&gpio, 0x004, 0);
    assert_eq!((read(&gpio, RIS), read(&gpio, MIS), level.is_high()), (1, 0, false), "it rose");
    write(&gpio, IE, 1);
    assert!(level.is_high());
    write(&gpio, IC, 1);
    assert_eq!((read(&gpio, RIS), level.is_high()), (0, false));
    write(&gpio, IS, 1);
    write(&gpio, 0x004, 1);
    write(&gpio, IC, 1);
    assert!(level.is_high(), "a level cannot be cleared");
    write(&gpio, 0x004, 0);
    assert!(!level.is_high());
    write(&gpio, IEV, 0);
    assert!(level.is_high(), "low level");
}

#[test]
fn a_button_that_is_an_output_is_not_heard() {
    let (gpio, level) = linux();
    write(&gpio, DIR, BUTTON);
    gpio.press_power_button();
    assert_eq!((level.is_high(), read(&gpio, ALL_DATA)), (false, 0));
}

#[test]
fn reset_is_power_on() {
    let (gpio, level) = linux();
    gpio.press_power_button();
    (0..0x424).step_by(4).for_each(|offset| write(&gpio, offset, 0xff));
    gpio.press_power_button();
    Device::reset(&gpio);
    assert!(!level.is_high());
    assert!((0..0xfe0).step_by(4).all(|offset| read(&gpio, offset) == 0));
}

/// By which Linux's AMBA bus chooses `gpio-pl061`.
#[test]
fn it_identifies_itself() {
    let (gpio, _) = gpio();
    let word =
        |base: u64| (0..4).fold(0, |id, byte| id | u32::from(read(&gpio, base + byte * 4)) << (byte * 8));
    assert_eq!((word(0xfe0), word(0xff0)), (0x0004_1061, 0xb105_f00d));
}

proptest! {
    #[test]
    fn any_access_is_answered(accesses in accesses(WINDOW)) {
        let (one, two) = (gpio().0, gpio().0);
        one.press_power_button();
        two.press_power_button();
        play([&one, &two], &accesses);
    }
}
