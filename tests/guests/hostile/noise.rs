//! Noise: any value at any place of the machine.

use crate::{
    Attacker, load_word,
    machine::{self, PROGRAM},
    store_word,
};

/// Many accesses near one another, or all over the machine.
pub fn burst(attacker: &mut Attacker) {
    let count = 1 + attacker.random.below(64);
    if machine::HAS_PORTS && attacker.random.is_one_in(2) {
        for _ in 0..count {
            let parameters = &attacker.parameters;
            machine::port(&mut attacker.random, parameters.is_wild(), parameters.may_reset());
        }
        return;
    }
    let (start, size) = window(attacker);
    for _ in 0..count {
        let offset = attacker.random.below(size);
        let width = attacker.random.width();
        access(attacker, start + offset, width);
    }
}

/// A place where a device answers, or none does.
fn window(attacker: &mut Attacker) -> (u64, u64) {
    let is_wild = attacker.parameters.is_wild();
    let random = &mut attacker.random;
    let windows = if is_wild { machine::WILD_WINDOWS } else { machine::WINDOWS };
    let (start, size) = windows[random.below(windows.len() as u64) as usize];
    if !random.is_one_in(3) || size <= 0x1000 {
        return (start, size);
    }
    let page = random.below(size / 0x1000) * 0x1000;
    (start + page, 0x1000)
}

/// A store or a load of `width` bytes. A mapped device bears any width; so far as the guest's own memory is set up, any alignment.
pub fn access(attacker: &mut Attacker, address: u64, width: u64) {
    let random = &mut attacker.random;
    let address = if machine::ALIGNED { address & !(width - 1) } else { address };
    if random.is_one_in(3) {
        load_word(address, width);
        return;
    }
    let value = if random.is_one_in(2) { random.odd() } else { random.next() };
    let value = if attacker.parameters.is_wild() { value } else { harmless(value) };
    store_word(address, width, value);
}

/// The value, unless it may be the address of the program's own memory.
pub fn harmless(value: u64) -> u64 {
    let low = value & 0xffff_ffff;
    // The first page holds nothing.
    if low >= 0x1000 && PROGRAM.contains(&low) { value ^ 0x4000_0000 } else { value }
}
