//! A guest that attacks the machine it runs in, the same for each seed: most steps set a device up as drivers do and then break one
//! thing, the others are noise. Core 0 makes so many steps as it is told, over resets, says what it saw, and powers off; the other
//! cores attack until then.
//!
//! It keeps itself alive, so that it gets deep: nothing that a device is told to write lies where it has its own code, tables and
//! stacks. A wild guest does not care.
#![no_std]
#![no_main]

mod chain;
mod faults;
mod machine;
mod noise;
mod queue;
mod random;
mod transport;

use machine::{RAM, Word, load, store};
use random::Random;

/// The first of [`CORES`] pieces of RAM that the cores let devices work on.
pub const ARENAS: u64 = RAM + (16 << 20);
pub const ARENA: u64 = 2 << 20;
/// Pages that balloons may take.
pub const SPARE: u64 = RAM + (40 << 20);
pub const SPARE_SIZE: u64 = 8 << 20;
/// The guest has no RAM from here on.
pub const RAM_END: u64 = RAM + (64 << 20);
pub const CORES: u64 = 8;

/// What outlives a reset: a mark, the number of starts, and what each core has counted.
const KEPT: u64 = RAM + (8 << 20);
const MARK: u64 = 0x686f_7374_696c_6521;
const BOOTS: u64 = KEPT + 8;
/// Set when the other cores are to stop, and what each of them is doing: not there, attacking, stopped.
const STOP: u64 = KEPT + 16;
const CORE_STATES: u64 = KEPT + 0x40;
const ATTACKING: u64 = 1;
const STOPPED: u64 = 2;
/// Microseconds that other cores get for their last steps.
const LAST_STEPS: u64 = 2_000_000;
const COUNTERS: u64 = KEPT + 0x100;

/// What a core counts.
#[derive(Clone, Copy)]
pub enum Counter {
    Steps,
    /// Chains that came back, of devices of a type: the first of so many as there are types.
    Used,
    /// A device gave up on what it was told.
    NeedsReset = 24,
    /// A device took a set-up.
    Ready,
    Resets,
}
const MOST_COUNTERS: u64 = 32;

/// What the test wrote into the image.
pub struct Parameters {
    pub seed: u64,
    pub steps: u64,
    /// Bit 0: wild. Bit 1: words for the agent's port. Bit 2: no resets.
    pub flags: u64,
}

impl Parameters {
    fn read() -> Self {
        let at = |index: u64| load(machine::parameters() + index * 8);
        Self { seed: at(0), steps: at(1), flags: at(2) }
    }

    pub fn is_wild(&self) -> bool {
        self.flags & 1 != 0
    }

    pub fn is_agent(&self) -> bool {
        self.flags & 2 != 0
    }

    pub fn may_reset(&self) -> bool {
        self.flags & 4 == 0
    }
}

/// A core and what it works with.
pub struct Attacker {
    pub core: u64,
    pub parameters: Parameters,
    pub random: Random,
    pub is_pci: bool,
}

impl Attacker {
    fn new(core: u64) -> Self {
        let parameters = Parameters::read();
        let random = Random::new(parameters.seed ^ core << 48 ^ load::<u64>(BOOTS) << 32);
        let mut attacker = Self { core, parameters, random, is_pci: false };
        attacker.is_pci = transport::is_pci();
        attacker
    }

    pub fn count(&self, counter: Counter, of: u64) {
        let address = COUNTERS + (self.core * MOST_COUNTERS + counter as u64 + of) * 8;
        store(address, load::<u64>(address) + 1);
    }

    pub fn arena(&self) -> u64 {
        ARENAS + self.core * ARENA
    }

    fn step(&mut self) {
        self.count(Counter::Steps, 0);
        match self.random.below(16) {
            0..=2 => noise::burst(self),
            3 if self.core == 0 && self.parameters.may_reset() && self.random.is_one_in(8) => {
                self.count(Counter::Resets, 0);
                machine::reset(&mut self.random);
            }
            _ => faults::attempt(self),
        }
    }
}

/// What all cores have counted.
fn sum(counter: u64) -> u64 {
    (0..CORES).map(|core| load::<u64>(COUNTERS + (core * MOST_COUNTERS + counter) * 8)).sum()
}

/// The first core, after each start.
pub fn main() -> ! {
    if load::<u64>(KEPT) != MARK {
        for offset in (8..0x100 + CORES * MOST_COUNTERS * 8).step_by(8) {
            store(KEPT + offset, 0_u64);
        }
        store(KEPT, MARK);
    }
    store(BOOTS, load::<u64>(BOOTS) + 1);
    store(STOP, 0_u64);
    for core in 0..CORES {
        store(CORE_STATES + core * 8, 0_u64);
    }
    machine::start_cores(CORES);
    let mut attacker = Attacker::new(0);
    while load::<u64>(COUNTERS) < attacker.parameters.steps {
        attacker.step();
    }
    stop_others();
    machine::open_serial();
    say(b"\r\n\r\nhostile: steps ");
    say_number(sum(Counter::Steps as u64));
    say(b" starts ");
    say_number(load(BOOTS));
    say(b" ready ");
    say_number(sum(Counter::Ready as u64));
    say(b" needs-reset ");
    say_number(sum(Counter::NeedsReset as u64));
    for kind in 1..20 {
        let used = sum(Counter::Used as u64 + kind);
        if used != 0 {
            say(b" used-");
            say_number(kind);
            say(b" ");
            say_number(used);
        }
    }
    say(b" end\r\n");
    loop {
        machine::power_off();
    }
}

/// Another core.
pub fn other(core: u64) -> ! {
    let mut attacker = Attacker::new(core);
    store(CORE_STATES + core * 8, ATTACKING);
    while load::<u64>(STOP) == 0 {
        attacker.step();
    }
    store(CORE_STATES + core * 8, STOPPED);
    loop {
        core::hint::spin_loop();
    }
}

/// Has the other cores leave the serial port alone.
fn stop_others() {
    store(STOP, 1_u64);
    let start = machine::microseconds();
    while (0..CORES).any(|core| load::<u64>(CORE_STATES + core * 8) == ATTACKING)
        && machine::microseconds().wrapping_sub(start) & machine::MICROSECONDS < LAST_STEPS
    {}
}

fn say(text: &[u8]) {
    for byte in text {
        machine::serial(*byte);
    }
}

fn say_number(number: u64) {
    if number >= 10 {
        say_number(number / 10);
    }
    machine::serial(b'0' + (number % 10) as u8);
}

/// Stores `value` in `width` bytes.
pub fn store_word(address: u64, width: u64, value: u64) {
    match width {
        1 => store(address, value as u8),
        2 => store(address, value as u16),
        4 => store(address, value as u32),
        _ => store(address, value),
    }
}

pub fn load_word(address: u64, width: u64) -> u64 {
    match width {
        1 => load::<u8>(address).into(),
        2 => load::<u16>(address).into(),
        4 => load::<u32>(address).into(),
        _ => load(address),
    }
}

/// Fills RAM.
pub fn fill(address: u64, len: u64, mut byte: impl FnMut(u64) -> u8) {
    for offset in 0..len {
        store(address + offset, byte(offset));
    }
}

pub fn put<T: Word>(address: u64, words: &[T]) {
    for (index, word) in (0..).zip(words) {
        store(address + index * size_of::<T>() as u64, *word);
    }
}

/// Its own mistakes are no finding: the test sees the word.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    machine::open_serial();
    say(b"\r\nhostile: the guest program panicked\r\n");
    loop {
        machine::power_off();
    }
}
