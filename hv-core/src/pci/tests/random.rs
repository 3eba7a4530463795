//! Any access, anywhere, of any width: nothing panics, loads set every byte, read-only registers stay.

use proptest::{collection::vec, prelude::*};

use super::*;

#[derive(Debug, Clone)]
enum Step {
    /// At an address of the bus.
    Memory(u64, Vec<u8>),
    /// At an offset from port 0xcf8.
    Ports(u64, Vec<u8>),
    /// In the range of BAR 2 of device 3, wherever that is.
    Bar(u64, Vec<u8>),
    Fire(u16),
    Line(bool),
    Reset,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let bytes =
        || prop_oneof![vec(any::<u8>(), 1..=8), vec(prop_oneof![Just(0), Just(0xff), Just(0x07)], 1..=8)];
    let config =
        (prop_oneof![Just(0u64), Just(3), Just(4), 0..32u64], 0..8u64, prop_oneof![0..0x50u64, 0..4096u64]);
    let ecam = config.prop_map(|(device, function, register)| {
        ECAM + (device << 15) + if function > 5 { function << 12 } else { 0 } + register
    });
    let address = prop_oneof![4 => ecam, 1 => LOW, 1 => HIGH, 1 => HIGH.start..HIGH.start + 0x3_0000, 1 => any::<u64>()];
    let offset = prop_oneof![0..0x1_0000u64, TABLE..TABLE + 0x430, PENDING - 8..PENDING + 24];
    vec(
        prop_oneof![
            8 => (address, bytes()).prop_map(|(at, data)| Step::Memory(at, data)),
            4 => (prop_oneof![0..8u64, any::<u64>()], bytes()).prop_map(|(at, data)| Step::Ports(at, data)),
            4 => (offset, bytes()).prop_map(|(at, data)| Step::Bar(at, data)),
            2 => (0..70u16).prop_map(Step::Fire),
            1 => any::<bool>().prop_map(Step::Line),
            1 => Just(Step::Reset),
        ],
        1..80,
    )
}

/// Loads twice into different bytes: what the load leaves alone differs.
fn load_sets_all(size: usize, load: impl Fn(&mut [u8])) {
    let (mut one, mut two) = (vec![0; size], vec![0xff; size]);
    load(&mut one);
    load(&mut two);
    assert_eq!(one, two);
}

fn take(guest: &Guest, step: &Step) {
    match step {
        Step::Memory(at, data) => {
            guest.bus.write(*at, data);
            load_sets_all(data.len(), |data| guest.bus.read(*at, data));
        }
        Step::Ports(at, data) => {
            guest.ports.write(*at, data);
            load_sets_all(data.len(), |data| guest.ports.read(*at, data));
        }
        Step::Bar(at, data) => {
            let base = guest.three.function.bar_address(2).unwrap_or(HIGH.start);
            guest.bus.write(base + at, data);
            load_sets_all(data.len(), |data| guest.bus.read(base + at, data));
        }
        Step::Fire(vector) => guest.three.function.fire(*vector),
        Step::Line(level) => guest.three.function.set_intx(*level),
        Step::Reset => guest.segment.reset(),
    }
}

proptest! {
    #[test]
    fn any_access_is_survived(steps in steps()) {
        let guest = Guest::new();
        for step in &steps {
            take(&guest, step);
        }
        for device in [3, 4] {
            prop_assert_eq!(guest.config(device, 0), 0x1042_1af4);
            prop_assert_eq!(guest.config(device, 0x2c), 0x0003_0002);
        }
        for (device, scratch) in [(3, &guest.three), (4, &guest.four)] {
            let decodes = guest.config(device, COMMAND) & u32::from(MEMORY_SPACE) != 0;
            for bar in [0, 2] {
                let at = scratch.function.bar_address(bar);
                prop_assert!(at.is_none_or(|at| decodes && (LOW.contains(&at) || HIGH.contains(&at))));
            }
        }
        guest.segment.reset();
        let levels = guest.chip.levels.lock().unwrap();
        prop_assert!(levels.last().is_none_or(|(_, high)| !high));
    }
}
