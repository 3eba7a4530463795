//! `Board`: what one architecture must answer for its machines; `Kit`: what it builds them with.

pub mod aarch64;
pub mod x86_64;

use std::{collections::BTreeMap, io::Write, sync::Arc, time::SystemTime};

use anyhow::ensure;

use super::{MOST_CPUS, MachineConfig};
use crate::{
    arch::Arch,
    boot::Payload,
    bus::Bus,
    device::Device,
    devices::{PowerEvents, uart::UartInput},
    io::Threads,
    irq::{IrqChip, IrqLine, SharedLine},
    memory::{GuestRam, RamLayout},
    pci::Segment,
    virtio::{self, Surroundings, Transport, VirtioDevice},
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

/// # Errors
/// Neither the machine type nor a host with at most `max_vcpus` has as many as `config` asks.
fn check_cpus(config: &MachineConfig, max_vcpus: u32) -> anyhow::Result<()> {
    let most = max_vcpus.min(MOST_CPUS);
    ensure!(
        (1..=most).contains(&config.cpus),
        "{} vCPUs are not possible here: give 1 to {most} by --cpus",
        config.cpus
    );
    Ok(())
}

/// Puts virtio devices into their slots: onto `segment`, or into register windows of `memory`. `place` says where the
/// window of a slot begins, and its line. Answers what `segment` does not drive.
///
/// # Errors
/// A device does not fit.
fn place_virtio(
    kit: &mut Kit<'_>,
    virtio: VirtioDevices,
    segment: &mut Segment,
    memory: &mut Bus,
    place: impl Fn(u8) -> (u64, u32),
) -> anyhow::Result<Vec<Arc<dyn Device>>> {
    let mut windows: Vec<Arc<dyn Device>> = Vec::new();
    for (slot, device) in virtio {
        let (window, gsi) = place(slot);
        let line = kit.line(gsi);
        let surroundings = kit.surroundings.clone();
        match kit.shape.config.transport {
            Transport::Pci => {
                let chip = Arc::clone(&kit.irq_chip);
                let transport = virtio::pci::Pci::new(device, surroundings, chip, line)?;
                segment.add(slot, Arc::new(transport))?;
            }
            Transport::Mmio => {
                let transport = Arc::new(virtio::mmio::Mmio::new(device, surroundings, window, line));
                memory.insert(window, virtio::mmio::WINDOW_SIZE, transport.clone())?;
                windows.push(transport);
            }
        }
    }
    Ok(windows)
}

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
