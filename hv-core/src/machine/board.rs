//! `Board`: what one architecture must answer for its machines; `Kit`: what it builds them with.

pub mod aarch64;
pub mod x86_64;

use std::{collections::BTreeMap, io::Write, sync::Arc, time::SystemTime};

use anyhow::ensure;

use super::MachineConfig;
use crate::{
    arch::Arch,
    boot::Payload,
    bus::Bus,
    device::Device,
    devices::{PowerEvents, uart::UartInput},
    io::Threads,
    irq::{IrqChip, IrqLine, SharedLine},
    memory::{GuestRam, RamLayout},
    virtio::{Surroundings, VirtioDevice},
};

/// An architecture whose machines can be built.
pub trait Board: Arch {
    /// What Linux calls the serial port: the word for `console=`.
    const SERIAL_CONSOLE: &'static str;

    /// Draws the memory map.
    ///
    /// # Errors
    /// The host or the machine type cannot give what is asked.
    fn plan(facts: &Self::Facts, config: &MachineConfig) -> anyhow::Result<Plan<Self>>;

    /// Builds the devices.
    ///
    /// # Errors
    /// A device does not fit.
    fn furnish(
        kit: Kit<'_>,
        serial: Box<dyn Write + Send>,
        clock: WallClock,
        virtio: VirtioDevices,
    ) -> anyhow::Result<Furnished>;

    /// Writes the payload and the tables into RAM: what firmware does. Repeated at each reset.
    ///
    /// # Errors
    /// The payload is not a kernel of this architecture or does not fit.
    fn boot(payload: &Payload, ram: &GuestRam, shape: &Shape) -> anyhow::Result<Self::CpuState>;
}

/// Where things lie.
#[derive(Debug)]
pub struct Plan<A: Arch> {
    /// RAM.
    pub ram: RamLayout,
    /// Interrupt controllers.
    pub irq: A::IrqPlan,
    /// Width of the widest guest-physical address in bits.
    pub address_bits: u8,
}

/// What a machine looks like: enough to describe it to its guest.
#[derive(Debug)]
pub struct Shape {
    /// Size.
    pub config: MachineConfig,
    /// RAM.
    pub ram: RamLayout,
    /// The slots that hold a virtio device.
    pub slots: Vec<u8>,
}

/// What the frontend brings into a machine.
pub struct Parts {
    /// What it boots.
    pub payload: Payload,
    /// Where its serial port transmits to.
    pub serial: Box<dyn Write + Send>,
    /// Its clock.
    pub clock: WallClock,
    /// Its virtio devices, with the slot of each.
    pub virtio: VirtioDevices,
    /// How the threads of its cores and devices are started.
    pub threads: Threads,
}

/// Virtio devices, with the slot of each.
pub type VirtioDevices = Vec<(u8, Box<dyn VirtioDevice>)>;

/// The slots of `virtio`. A slot is a PCI device number, whatever the transport; 0 is the host bridge's.
///
/// # Errors
/// There is no such slot, or two devices are for the same.
pub(super) fn slots(virtio: &VirtioDevices) -> anyhow::Result<Vec<u8>> {
    let mut slots = Vec::new();
    for &(slot, _) in virtio {
        ensure!((1..=LAST_SLOT).contains(&slot), "slot {slot} is not between 1 and {LAST_SLOT}");
        ensure!(!slots.contains(&slot), "two devices are for slot {slot}");
        slots.push(slot);
    }
    Ok(slots)
}

const LAST_SLOT: u8 = 31;

/// The wall clock that the guest's real-time clock starts from.
pub type WallClock = Box<dyn Fn() -> SystemTime + Send + Sync>;

/// The power button of a machine.
pub trait PowerButton: Send + Sync {
    /// Presses it, and lets go; says whether the guest listens to it now.
    fn press(&self) -> bool;
}

/// A machine's devices, ready to be driven.
pub struct Furnished {
    /// Device memory.
    pub memory: Bus,
    /// I/O ports.
    pub ports: Bus,
    /// All devices.
    pub devices: Vec<Arc<dyn Device>>,
    /// The power button.
    pub power_button: Arc<dyn PowerButton>,
    /// Where input for the serial port goes.
    pub serial_input: UartInput,
}

/// What a board builds devices with.
pub struct Kit<'a> {
    /// What is to be built.
    pub shape: &'a Shape,
    /// The interrupt controller.
    pub irq_chip: Arc<dyn IrqChip>,
    /// What virtio devices work with.
    pub surroundings: Surroundings,
    /// Who hears of power-off and reset.
    pub power: Arc<dyn PowerEvents>,
    lines: BTreeMap<u32, SharedLine>,
}

impl<'a> Kit<'a> {
    pub(super) fn new(
        shape: &'a Shape,
        irq_chip: Arc<dyn IrqChip>,
        surroundings: Surroundings,
        power: Arc<dyn PowerEvents>,
    ) -> Self {
        Self { shape, irq_chip, surroundings, power, lines: BTreeMap::new() }
    }

    /// One device's end of line `gsi`, which it may share with others.
    pub fn line(&mut self, gsi: u32) -> IrqLine {
        let chip = &self.irq_chip;
        self.lines.entry(gsi).or_insert_with(|| SharedLine::new(Arc::clone(chip), gsi)).share()
    }
}
