//! The aarch64 machine of type `hv-1` (docs/machine-hv-1.md): where things lie, and how they are put together.

use std::{io::Write, sync::Arc};

use anyhow::{Context, ensure};

use super::{Board, Furnished, Kit, Plan, PowerButton, Shape, VirtioDevices, WallClock};
use crate::{
    arch::{
        Aarch64,
        aarch64::{CpuState, Facts, IrqPlan, MSI_FRAME_SIZE, affinity},
    },
    boot::{self, Payload},
    bus::Bus,
    device::Device,
    devices::{
        gic_v2m::GicV2m,
        pl011::{self, Pl011},
        pl031::{self, Pl031},
        pl061::{self, Pl061},
    },
    machine::MachineConfig,
    memory::{GuestRam, RamLayout},
    pci::{Ecam, Segment, Windows},
    tables::aarch64::{Description, Pci, Window},
    virtio::{self, Transport},
};

const GIB: u64 = 1 << 30;

/// RAM begins here, in one block; below lie all devices, and room for firmware.
const RAM: u64 = 2 * GIB;
/// Width of addresses as long as RAM ends within it: every host has so many.
const NARROW: u8 = 36;
/// Width of addresses for more RAM.
const WIDE: u8 = 40;

const DISTRIBUTOR: u64 = 0x0800_0000;
const MSI_FRAME: u64 = 0x0801_0000;
/// 32 MiB are free here, the largest region of any host.
const REDISTRIBUTORS: u64 = 0x0a00_0000;
const MSIS: std::ops::Range<u32> = 128..640;
const INTIDS: u32 = 640;

const UART: Window = Window { base: 0x0900_0000, size: pl011::WINDOW, spi: 1 };
const CLOCK: Window = Window { base: 0x0901_0000, size: pl031::WINDOW, spi: 2 };
const GPIO: Window = Window { base: 0x0902_0000, size: pl061::WINDOW, spi: 3 };

/// The virtio-mmio window of slot 0; one window a slot follows.
const VIRTIO_MMIO: u64 = 0x0d00_0000;
const VIRTIO_MMIO_STRIDE: u64 = 0x1000;
/// BARs. A window above 4 GiB has no room in the addresses of the narrowest hosts.
const PCI: std::ops::Range<u64> = 0x1000_0000..0x3000_0000;
/// Configuration space of bus 0.
const ECAM: u64 = 0x3f00_0000;

/// Slots share these SPIs.
const FIRST_SLOT_SPI: u32 = 16;
const SLOT_SPIS: u32 = 8;

/// The interrupt of a slot's function, or of its virtio-mmio window.
fn slot_spi(slot: u8) -> u32 {
    FIRST_SLOT_SPI + u32::from(slot) % SLOT_SPIS
}

fn slot_window(slot: u8) -> Window {
    let base = VIRTIO_MMIO + u64::from(slot) * VIRTIO_MMIO_STRIDE;
    Window { base, size: virtio::mmio::WINDOW_SIZE, spi: slot_spi(slot) }
}

fn irq_plan() -> IrqPlan {
    IrqPlan {
        distributor: DISTRIBUTOR,
        redistributors: REDISTRIBUTORS,
        msi_frame: MSI_FRAME,
        msis: MSIS,
        intids: INTIDS,
    }
}

impl Board for Aarch64 {
    const SERIAL_CONSOLE: &'static str = "ttyAMA0";

    fn plan(facts: &Facts, config: &MachineConfig) -> anyhow::Result<Plan<Self>> {
        super::check_cpus(config, facts.max_vcpus)?;
        let bits = facts.physical_address_bits;
        ensure!(
            bits >= NARROW,
            "this host's guests have {bits}-bit physical addresses; machine type hv-1 needs {NARROW}"
        );
        let ram = RamLayout::new(config.memory, 0..RAM, 1 << WIDE)?;
        let most = (1 << NARROW) - RAM;
        let address_bits = if config.memory <= most { NARROW } else { WIDE };
        ensure!(
            bits >= address_bits,
            "memory of {} MiB needs {WIDE}-bit physical addresses and this host's guests have {bits}: \
             give at most --memory {}M",
            config.memory >> 20,
            most >> 20
        );
        Ok(Plan { ram, irq: irq_plan(), address_bits })
    }

    fn furnish(
        mut kit: Kit<'_>,
        serial: Box<dyn Write + Send>,
        clock: WallClock,
        virtio: VirtioDevices,
    ) -> anyhow::Result<Furnished> {
        let (mut memory, mut devices) = (Bus::default(), Vec::new());

        let uart = Arc::new(Pl011::new(kit.line(UART.spi), serial));
        let serial_input = uart.input();
        memory.insert(UART.base, UART.size, uart.clone())?;
        let clock = Arc::new(Pl031::new(kit.line(CLOCK.spi), clock));
        memory.insert(CLOCK.base, CLOCK.size, clock.clone())?;
        let gpio = Arc::new(Pl061::new(kit.line(GPIO.spi)));
        memory.insert(GPIO.base, GPIO.size, gpio.clone())?;
        // Where the host has a frame of its own, no access to it arrives here.
        let frame = Arc::new(GicV2m::new(Arc::clone(&kit.irq_chip), &irq_plan()));
        memory.insert(MSI_FRAME, MSI_FRAME_SIZE, frame.clone())?;
        devices.extend([uart as Arc<dyn Device>, clock, gpio.clone(), frame]);

        let mut segment = Segment::new(Windows { low: PCI, high: 0..0 });
        let place = |slot| (slot_window(slot).base, slot_spi(slot));
        devices.extend(super::place_virtio(&mut kit, virtio, &mut segment, &mut memory, place)?);
        let segment = Arc::new(segment);
        segment.connect(&mut memory, ECAM)?;
        devices.push(segment);

        // There are no ports.
        Ok(Furnished { memory, ports: Bus::default(), devices, power_button: gpio, serial_input })
    }

    fn boot(payload: &Payload, ram: &GuestRam, shape: &Shape) -> anyhow::Result<CpuState> {
        let mut seed = [0; _];
        getrandom::fill(&mut seed).context("the host gives no random bytes")?;
        let description = describe(shape);
        let target = boot::aarch64::Target { ram, description: &description, seed: &seed };
        Ok(boot::aarch64::load(payload, &target)?)
    }
}

/// What the tables say of the machine.
fn describe(shape: &Shape) -> Description {
    let slots = match shape.config.transport {
        Transport::Pci => &[],
        Transport::Mmio => &shape.slots[..],
    };
    let mut slot_spis = [0; 32];
    for (slot, spi) in (0..).zip(&mut slot_spis) {
        *spi = slot_spi(slot);
    }
    Description {
        ram: RAM..RAM + shape.ram.size(),
        affinities: (0..shape.config.cpus).map(affinity).collect(),
        irq: irq_plan(),
        uart: UART,
        uart_clock: pl011::CLOCK_HZ,
        clock: CLOCK,
        gpio: GPIO,
        power_button: pl061::POWER_BUTTON,
        pci: Pci { ecam: ECAM..ECAM + Ecam::SIZE, window: PCI, slot_spis },
        virtio_mmio: slots.iter().map(|slot| slot_window(*slot)).collect(),
    }
}

impl PowerButton for Pl061 {
    fn press(&self) -> bool {
        self.press_power_button()
    }
}
