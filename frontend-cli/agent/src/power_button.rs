//! The power button, where the guest's kernel shows it as an input device.

use std::{
    fs::{self, File},
    io::Read,
    path::PathBuf,
    sync::mpsc::Sender,
};

use crate::{shutdown::Order, start_thread};

/// `KEY_POWER` and `EV_KEY` (`linux/input-event-codes.h`).
const KEY_POWER: u16 = 116;
const EV_KEY: u16 = 1;

/// The size of `struct input_event`, and of the time it begins with, on 64-bit machines.
const EVENT: usize = 24;
const TIME: usize = 16;

/// Orders a power-off when a power button is pressed.
pub(crate) fn watch(orders: &Sender<Order>) {
    for device in devices() {
        let orders = orders.clone();
        start_thread("power button", move || {
            let Ok(mut device) = File::open(device) else { return };
            let mut events = [0; 16 * EVENT];
            while let Ok(count @ 1..) = device.read(&mut events) {
                let events = events.get(..count).unwrap_or_default();
                if events.chunks_exact(EVENT).any(is_press) && orders.send(Order::POWER_OFF).is_err() {
                    return;
                }
            }
        });
    }
}

/// The input devices that have the key.
fn devices() -> Vec<PathBuf> {
    let inputs = fs::read_dir("/sys/class/input").into_iter().flatten().flatten();
    let names = inputs.filter(|input| input.file_name().to_string_lossy().starts_with("event"));
    let has_key = |keys: String| has_key(&keys, KEY_POWER);
    let with_key = names
        .filter(|input| fs::read_to_string(input.path().join("device/capabilities/key")).is_ok_and(has_key));
    with_key.map(|input| PathBuf::from("/dev/input").join(input.file_name())).collect()
}

/// Whether a bit map as sysfs shows it, in words of 64 bits with the highest first, has `key`.
fn has_key(map: &str, key: u16) -> bool {
    let word = map.split_whitespace().rev().nth(usize::from(key / 64));
    let word = word.and_then(|word| u64::from_str_radix(word, 16).ok()).unwrap_or(0);
    word >> (key % 64) & 1 == 1
}

/// Whether an event is a press of the power button.
fn is_press(event: &[u8]) -> bool {
    let expected = [EV_KEY.to_ne_bytes(), KEY_POWER.to_ne_bytes()];
    event.get(TIME..TIME + 4) == Some(expected.as_flattened())
        && event.get(TIME + 4..EVENT) == Some(&1_i32.to_ne_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_found_in_a_bit_map() {
        assert!(has_key("10000000000000 0\n", KEY_POWER));
        assert!(has_key("8000 10000000000000 ffffffffffffffff\n", KEY_POWER));
        assert!(!has_key("10000000000000\n", KEY_POWER));
        assert!(!has_key("", KEY_POWER));
        assert!(!has_key("zz 0", KEY_POWER));
    }

    #[test]
    fn a_press_is_told_from_a_release() {
        let event = |value: u8| [&[9; TIME][..], &[1, 0, 116, 0], &[value, 0, 0, 0]].concat();
        assert!(is_press(&event(1)));
        assert!(!is_press(&event(0)));
        assert!(!is_press(&[0; EVENT]));
    }
}
