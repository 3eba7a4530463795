//! `Function`: the configuration space of one endpoint, its BARs and its interrupts.

mod builder;

pub use builder::{FunctionBuilder, Identity};

use std::sync::Mutex;

use super::{
    Bar, PciError, Windows,
    bar::{self, Allocator},
    lock,
    msix::{self, Gate, Msix},
    registers::{Registers, command, offset, status},
};
use crate::irq::IrqLine;

/// Where each BAR decodes, `None` where it does not.
pub(super) type Decoded = [Option<u64>; bar::COUNT as usize];

/// One function: a type 0 configuration space (PCI Local Bus 3.0, chapter 6).
///
/// Devices and their threads share it to send interrupts; every call may come from any thread. Messages and the
/// line both follow the Command register: with Bus Master Enable off no message is sent (6.2.2); ours are then
/// held as pending bits and go out when it is on again, so that none is lost.
pub struct Function {
    bars: [Option<Bar>; bar::COUNT as usize],
    msix: Option<(Msix, usize)>,
    line: Option<IrqLine>,
    state: Mutex<State>,
}

struct State {
    registers: Registers,
    /// Where BARs decode at all; empty until the function is in a segment.
    windows: Windows,
}

impl Function {
    /// Starts a function that is known as `identity`.
    pub fn builder(identity: Identity) -> FunctionBuilder {
        FunctionBuilder::new(identity)
    }

    /// A load from configuration space. What lies beyond its 256 bytes is all ones.
    pub fn read_config(&self, offset: u16, data: &mut [u8]) {
        lock(&self.state).registers.read(offset, data);
    }

    /// A store to configuration space, with its effects on interrupts.
    pub fn write_config(&self, offset: u16, data: &[u8]) {
        let mut state = lock(&self.state);
        state.registers.write(offset, data);
        self.settle(&mut state.registers);
    }

    /// The guest-physical address of BAR `index`, if it decodes: Memory Space is enabled and the BAR lies in a
    /// window of the segment.
    pub fn bar_address(&self, index: u8) -> Option<u64> {
        self.decoded().get(usize::from(index)).copied().flatten()
    }

    /// Whether the driver lets the device access memory (Bus Master Enable).
    pub fn is_bus_master(&self) -> bool {
        lock(&self.state).registers.word(offset::COMMAND) & command::BUS_MASTER != 0
    }

    /// Whether the driver uses MSI-X and thus not the line.
    pub fn is_msix_enabled(&self) -> bool {
        self.msix.as_ref().is_some_and(|(msix, _)| msix.is_enabled())
    }

    /// The number of MSI-X vectors, zero without MSI-X.
    pub fn msix_vectors(&self) -> u16 {
        self.msix.as_ref().map_or(0, |(msix, _)| msix.vectors())
    }

    /// Sends MSI-X message `vector`, or sets its pending bit while vector or function are masked or the
    /// function is no bus master. Nothing happens without MSI-X enabled or without such a vector.
    pub fn fire(&self, vector: u16) {
        if let Some((msix, _)) = &self.msix {
            msix.fire(vector);
        }
    }

    /// Asserts or deasserts INTA#: a level. The Interrupt Status bit follows; the line does so unless Interrupt
    /// Disable is set or MSI-X is enabled.
    pub fn set_intx(&self, asserted: bool) {
        let mut state = lock(&self.state);
        state.registers.set_bits(offset::STATUS, status::INTERRUPT, asserted && self.line.is_some());
        self.settle(&mut state.registers);
    }

    /// Back to the state at power-on, with the BARs where firmware put them and nothing decoded.
    pub(super) fn reset(&self) {
        let mut state = lock(&self.state);
        state.registers.reset();
        self.settle(&mut state.registers);
        if let Some((msix, _)) = &self.msix {
            msix.reset();
        }
    }

    /// Puts each BAR at an address out of `allocator`, now and at each reset, and lets them decode in `windows`.
    pub(super) fn place(&self, allocator: &mut Allocator, windows: &Windows) -> Result<(), PciError> {
        let mut state = lock(&self.state);
        for (index, bar) in self.bars() {
            let full = PciError::WindowFull { index, size: bar.size };
            let address = allocator.place(bar).ok_or(full)?;
            bar.define(index, address, &mut state.registers);
        }
        state.windows = windows.clone();
        Ok(())
    }

    /// Where each BAR decodes now.
    pub(super) fn decoded(&self) -> Decoded {
        let state = lock(&self.state);
        let mut decoded = Decoded::default();
        if state.registers.word(offset::COMMAND) & command::MEMORY_SPACE != 0 {
            for (index, bar) in self.bars() {
                let address = bar.address(index, &state.registers);
                decoded[usize::from(index)] = Some(address).filter(|at| state.windows.hold(*at, bar.size));
            }
        }
        decoded
    }

    /// Number, address and size of the BARs that decode now.
    pub(super) fn decoded_bars(&self) -> impl Iterator<Item = (u8, u64, u64)> {
        let decoded = self.decoded();
        self.bars().filter_map(move |(index, bar)| Some((index, decoded[usize::from(index)]?, bar.size)))
    }

    /// The BARs by number.
    fn bars(&self) -> impl Iterator<Item = (u8, &Bar)> {
        (0..).zip(&self.bars).filter_map(|(index, bar)| Some((index, bar.as_ref()?)))
    }

    /// The MSI-X structures in the BARs.
    pub(super) fn msix(&self) -> Option<&Msix> {
        self.msix.as_ref().map(|(msix, _)| msix)
    }

    /// Makes messages and line follow the registers. Under their lock, so that the last change wins.
    fn settle(&self, registers: &mut Registers) {
        let command = registers.word(offset::COMMAND);
        let gate = self.msix.as_ref().map_or(Gate::Off, |(msix, capability)| {
            let control = registers.word(capability + msix::CONTROL);
            let gate = gate(control, command);
            msix.set_gate(gate);
            gate
        });
        if let Some(line) = &self.line {
            let asserted = registers.word(offset::STATUS) & status::INTERRUPT != 0;
            line.set(asserted && command & command::INTERRUPT_DISABLE == 0 && gate == Gate::Off);
        }
    }
}

/// What Message Control and Command let pass.
fn gate(control: u16, command: u16) -> Gate {
    if control & msix::ENABLE == 0 {
        Gate::Off
    } else if control & msix::FUNCTION_MASK != 0 || command & command::BUS_MASTER == 0 {
        Gate::Held
    } else {
        Gate::Open
    }
}
