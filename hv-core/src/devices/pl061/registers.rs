//! The registers of the PL061, without locks and lines (Arm DDI 0190, chapter 3). Each has a bit for each line.

use crate::devices::primecell;

/// `GPIOPeriphID0` to 3 (3.3.11).
const PERIPHERAL_ID: [u8; 4] = [0x61, 0x10, 0x04, 0x00];

/// End of the data register's 256 places: bits 2 to 9 of the address say which lines a load or store is of (2.3.1).
const DATA_END: u64 = 0x400;
/// Direction: a one is an output.
const DIR: u64 = 0x400;
/// Interrupt sense: a one is a level, a zero an edge.
const IS: u64 = 0x404;
/// Interrupt on both edges.
const IBE: u64 = 0x408;
/// Interrupt event: a one is the rising edge or the high level, a zero the falling edge or the low level.
const IEV: u64 = 0x40c;
/// Interrupt enable.
const IE: u64 = 0x410;
/// Raw and masked interrupt status.
const RIS: u64 = 0x414;
const MIS: u64 = 0x418;
/// Interrupt clear.
const IC: u64 = 0x41c;
/// Alternate function: no line has another function here.
const AFSEL: u64 = 0x420;

/// The register file, and the lines' levels.
#[derive(Default)]
pub(super) struct Registers {
    /// What drives the lines from outside.
    inputs: u8,
    outputs: u8,
    direction: u8,
    sense: u8,
    both_edges: u8,
    event: u8,
    enable: u8,
    /// Edges seen and not yet cleared.
    edges: u8,
    alternate: u8,
}

/// Whether a load or store at `offset` is of the data of `line`.
pub(super) fn shows(offset: u64, line: u8) -> bool {
    offset < DATA_END && data_mask(offset) & line != 0
}

fn data_mask(offset: u64) -> u8 {
    (offset >> 2).to_le_bytes()[0]
}

impl Registers {
    /// Drives `line` from outside.
    pub(super) fn set_input(&mut self, line: u8, high: bool) {
        let before = self.levels();
        self.inputs = if high { self.inputs | line } else { self.inputs & !line };
        self.notice(before);
    }

    /// Whether `line` is an input.
    pub(super) fn is_input(&self, line: u8) -> bool {
        self.direction & line == 0
    }

    /// Whether the guest hears of `line`: its interrupt is enabled.
    pub(super) fn listens(&self, line: u8) -> bool {
        self.enable & line != 0
    }

    /// Whether a store says all that the guest will ever say about a press of `line`: it clears an interrupt which the
    /// line's fall does not raise.
    pub(super) fn acknowledges(&self, offset: u64, value: u8, line: u8) -> bool {
        let hears_both = self.both_edges & !self.sense & line != 0;
        offset == IC && value & line != 0 && self.raw() & line != 0 && !hears_both
    }

    /// Whether the interrupt output is high.
    pub(super) fn interrupts(&self) -> bool {
        self.raw() & self.enable != 0
    }

    /// A load of the register at `offset`.
    pub(super) fn read(&self, offset: u64) -> u32 {
        u32::from(match offset {
            ..DATA_END => self.levels() & data_mask(offset),
            DIR => self.direction,
            IS => self.sense,
            IBE => self.both_edges,
            IEV => self.event,
            IE => self.enable,
            RIS => self.raw(),
            MIS => self.raw() & self.enable,
            AFSEL => self.alternate,
            _ => return primecell::identification(offset, PERIPHERAL_ID),
        })
    }

    /// A store to the register at `offset`.
    pub(super) fn write(&mut self, offset: u64, value: u8) {
        let before = self.levels();
        match offset {
            ..DATA_END => {
                // Only outputs take a value (3.3.1).
                let mask = data_mask(offset) & self.direction;
                self.outputs = self.outputs & !mask | value & mask;
            }
            DIR => self.direction = value,
            IS => self.sense = value,
            IBE => self.both_edges = value,
            IEV => self.event = value,
            IE => self.enable = value,
            IC => self.edges &= !value,
            AFSEL => self.alternate = value,
            _ => {}
        }
        self.notice(before);
    }

    fn levels(&self) -> u8 {
        self.outputs & self.direction | self.inputs & !self.direction
    }

    /// Edges are kept, levels are not.
    fn notice(&mut self, before: u8) {
        let (rose, fell) = (self.levels() & !before, before & !self.levels());
        let wanted = self.both_edges & (rose | fell) | self.event & rose | !self.event & fell;
        self.edges |= wanted & !self.sense;
    }

    fn raw(&self) -> u8 {
        self.edges & !self.sense | !(self.levels() ^ self.event) & self.sense
    }
}
