//! `FunctionBuilder`: lays out a configuration space: identity, BARs, capabilities, interrupts.

use std::sync::{Arc, Mutex};

use super::{Function, State};
use crate::{
    irq::{IrqChip, IrqLine},
    pci::{
        Bar, MsixLayout, PciError, Windows, bar,
        msix::{self, Msix},
        registers::{self, Registers, command, offset, status},
    },
};

/// What a function says it is (PCI Local Bus 3.0, 6.2.1 and 6.2.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// Vendor ID.
    pub vendor: u16,
    /// Device ID.
    pub device: u16,
    /// Revision ID.
    pub revision: u8,
    /// Base class, sub-class and programming interface, 24 bits: `0x018000` is other mass storage.
    pub class: u32,
    /// Subsystem Vendor ID.
    pub subsystem_vendor: u16,
    /// Subsystem ID.
    pub subsystem: u16,
}

/// A function in the making.
pub struct FunctionBuilder {
    registers: Registers,
    bars: [Option<Bar>; bar::COUNT as usize],
    msix: Option<(Msix, usize)>,
    line: Option<IrqLine>,
    /// The register that points to the next capability, and where that will be.
    next_pointer: usize,
    free: usize,
}

impl FunctionBuilder {
    pub(super) fn new(identity: Identity) -> Self {
        let mut registers = Registers::new();
        registers.define(offset::VENDOR_ID, &identity.vendor.to_le_bytes());
        registers.define(offset::DEVICE_ID, &identity.device.to_le_bytes());
        registers.define(offset::REVISION, &[identity.revision]);
        registers.define(offset::CLASS, &identity.class.to_le_bytes()[..3]);
        registers.define(offset::SUBSYSTEM_VENDOR_ID, &identity.subsystem_vendor.to_le_bytes());
        registers.define(offset::SUBSYSTEM_ID, &identity.subsystem.to_le_bytes());
        // Both are the system software's notes and have no effect.
        registers.allow(offset::CACHE_LINE_SIZE, &[0xff]);
        registers.allow(offset::INTERRUPT_LINE, &[0xff]);
        let command = command::MEMORY_SPACE | command::BUS_MASTER | command::INTERRUPT_DISABLE;
        registers.allow(offset::COMMAND, &command.to_le_bytes());
        let (next_pointer, free) = (offset::CAPABILITIES, offset::HEADER_END);
        Self { registers, bars: Default::default(), msix: None, line: None, next_pointer, free }
    }

    /// Adds BAR `index` (0 to 5; a 64-bit BAR takes the next one too).
    ///
    /// # Errors
    /// Its size is impossible, or the registers are taken or not there.
    pub fn bar(&mut self, index: u8, bar: Bar) -> Result<(), PciError> {
        let overlaps = |(at, other): (u8, &Option<Bar>)| {
            let registers = other.as_ref().map(|other| other.registers(at));
            registers.is_some_and(|other| other.start < bar.registers(index).end && index < other.end)
        };
        if !bar.is_valid_at(index) || (0..).zip(&self.bars).any(overlaps) {
            return Err(PciError::Bar { index, size: bar.size });
        }
        bar.define(index, 0, &mut self.registers);
        self.bars[usize::from(index)] = Some(bar);
        Ok(())
    }

    /// Adds capability `id` at the end of the list. `body` follows its id and next pointer; a guest may change
    /// the bits that are ones in `writable`, which may be shorter. Returns the capability's offset.
    ///
    /// # Errors
    /// The space for capabilities is full.
    pub fn capability(&mut self, id: u8, body: &[u8], writable: &[u8]) -> Result<u8, PciError> {
        let at = self.free;
        let end = at.saturating_add(2).saturating_add(body.len());
        let pointer = u8::try_from(at).ok().filter(|_| end <= registers::SIZE);
        let pointer = pointer.ok_or(PciError::CapabilitySpace(id))?;
        self.registers.define(self.next_pointer, &[pointer]);
        self.registers.define(at, &[id, 0]);
        self.registers.define(at + 2, body);
        self.registers.allow(at + 2, &writable[..writable.len().min(body.len())]);
        self.registers.define(offset::STATUS, &status::CAPABILITIES_LIST.to_le_bytes());
        self.next_pointer = at + 1;
        self.free = end.next_multiple_of(4);
        Ok(pointer)
    }

    /// Adds MSI-X in a BAR that was added before. Its messages go to `chip`.
    ///
    /// # Errors
    /// The structures do not fit, or the space for capabilities is full.
    pub fn msix(&mut self, layout: MsixLayout, chip: Arc<dyn IrqChip>) -> Result<(), PciError> {
        let bar = self.bars.get(usize::from(layout.bar)).and_then(Option::as_ref);
        if self.msix.is_some() || !bar.is_some_and(|bar| layout.fits(bar)) {
            return Err(PciError::Msix(layout));
        }
        let writable = (msix::ENABLE | msix::FUNCTION_MASK).to_le_bytes();
        let capability = self.capability(msix::ID, &layout.capability(), &writable)?;
        self.msix = Some((Msix::new(layout, chip), capability.into()));
        Ok(())
    }

    /// Connects INTA# to `line`.
    pub fn intx(&mut self, line: IrqLine) {
        let number = u8::try_from(line.gsi()).unwrap_or(0xff);
        self.registers.define(offset::INTERRUPT_LINE, &[number]);
        self.registers.define(offset::INTERRUPT_PIN, &[1]);
        self.line = Some(line);
    }

    /// The function, ready to be put into a segment.
    pub fn build(self) -> Function {
        let state = Mutex::new(State { registers: self.registers, windows: Windows::default() });
        Function { bars: self.bars, msix: self.msix, line: self.line, state }
    }
}
