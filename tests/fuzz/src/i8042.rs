//! The keyboard controller's registers.

use std::sync::Arc;

use hv_core::{
    bus::BusDevice,
    device::Device,
    devices::i8042::{I8042, WINDOW},
};

use crate::{Input, sink::PowerCounter, twins::Access};

const COMMAND: u64 = 4;
const OUTPUT_FULL: u8 = 1;

/// Any accesses. A reset of the machine takes a store that asks for one; the output buffer is empty once it is read.
///
/// # Panics
/// The controller breaks one of these.
pub fn i8042(data: &[u8]) {
    let (power, other) = (Arc::new(PowerCounter::default()), Arc::new(PowerCounter::default()));
    let (one, two) = (I8042::new(power.clone()), I8042::new(other));
    let mut input = Input::new(data);
    let mut output_port_follows = false;
    while !input.is_empty() {
        if input.u8() == 0 {
            one.reset();
            two.reset();
            output_port_follows = false;
        }
        let access = Access::read(&mut input, WINDOW);
        let before = power.counts();
        access.play(&one, &two);
        let resets = power.counts().1 - before.1;
        let asked = [
            access.stored_at(0).filter(|value| output_port_follows && value & 1 == 0),
            access.stored_at(COMMAND).filter(|value| *value >= 0xf0 && value & 1 == 0),
        ];
        assert_eq!(resets, u32::try_from(asked.iter().flatten().count()).unwrap());
        if access.stored_at(0).is_some() {
            output_port_follows = false;
        }
        if let Some(command) = access.stored_at(COMMAND) {
            output_port_follows = command == 0xd1;
        }
    }
    assert_eq!(power.counts().0, 0, "it cannot power off");
    let mut byte = [0];
    one.read(0, &mut byte);
    one.read(COMMAND, &mut byte);
    assert_eq!(byte[0] & OUTPUT_FULL, 0);
}
