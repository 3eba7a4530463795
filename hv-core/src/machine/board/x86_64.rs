//! The x86_64 machine of type `hv-1` (docs/machine-hv-1.md): where things lie, and how they are put together.

use std::{
    io::Write,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::ensure;

use super::{Board, Furnished, Kit, Plan, PowerButton, Shape, VirtioDevices, WallClock};
use crate::{
    arch::{X86_64, x86_64},
    boot::{self, Payload},
    bus::Bus,
    device::Device,
    devices::{
        acpi_power::{self, AcpiPower},
        cmos_rtc::{self, CmosRtc},
        i8042::{self, I8042},
        uart16550::{self, Uart16550},
    },
    machine::MachineConfig,
    memory::{GuestRam, RamLayout},
    pci::{ConfigPorts, Ecam, Segment, Windows},
    tables::acpi,
    virtio::Transport,
};

const GIB: u64 = 1 << 30;

/// No RAM here: PCI and device windows, the IOAPIC and the local APICs.
const HOLE: std::ops::Range<u64> = 3 * GIB..4 * GIB;
/// BARs below 4 GiB.
const PCI_LOW: std::ops::Range<u64> = 0xc000_0000..0xe000_0000;
/// BARs above 4 GiB; RAM ends where it begins.
const PCI_HIGH: std::ops::Range<u64> = 448 * GIB..512 * GIB;
/// Width of the addresses below that end.
const ADDRESS_BITS: u8 = 39;
/// Configuration space of bus 0.
const ECAM: u64 = 0xe000_0000;
/// The virtio-mmio window of slot 0; one window a slot follows.
const VIRTIO_MMIO: u32 = 0xf000_0000;
const VIRTIO_MMIO_STRIDE: u32 = 0x1000;

const COM1: u16 = 0x3f8;
const COM1_IRQ: u8 = 4;
const RTC_IRQ: u8 = 8;
const CONFIG_PORTS: u64 = 0xcf8;
const POWER: u16 = 0x600;
const SCI: u8 = 9;
/// The timer raises the IOAPIC input of its ISA number.
const PIT_GSI: u32 = 0;

/// Slots share these inputs of the IOAPIC.
const FIRST_SLOT_GSI: u32 = 16;
const SLOT_GSIS: u32 = 8;

/// The interrupt of a slot's function, or of its virtio-mmio window.
fn slot_gsi(slot: u8) -> u32 {
    FIRST_SLOT_GSI + u32::from(slot) % SLOT_GSIS
}

fn slot_window(slot: u8) -> u32 {
    VIRTIO_MMIO + u32::from(slot) * VIRTIO_MMIO_STRIDE
}

impl Board for X86_64 {
    const SERIAL_CONSOLE: &'static str = "ttyS0";

    fn plan(facts: &x86_64::Facts, config: &MachineConfig) -> anyhow::Result<Plan<Self>> {
        super::check_cpus(config, facts.max_vcpus)?;
        let bits = facts.physical_address_bits;
        ensure!(
            bits >= ADDRESS_BITS,
            "this host's guests have {bits}-bit physical addresses; machine type hv-1 needs {ADDRESS_BITS}"
        );
        Ok(Plan {
            ram: RamLayout::new(config.memory, HOLE, PCI_HIGH.start)?,
            irq: x86_64::IrqPlan,
            address_bits: ADDRESS_BITS,
        })
    }

    fn furnish(
        mut kit: Kit<'_>,
        serial: Box<dyn Write + Send>,
        clock: WallClock,
        virtio: VirtioDevices,
    ) -> anyhow::Result<Furnished> {
        let (mut memory, mut ports, mut devices) = (Bus::default(), Bus::default(), Vec::new());

        let uart = Arc::new(Uart16550::new(kit.line(COM1_IRQ.into()), serial));
        let serial_input = uart.input();
        ports.insert(COM1.into(), uart16550::WINDOW, uart.clone())?;
        let rtc = Arc::new(CmosRtc::new(clock));
        ports.insert(cmos_rtc::BASE, cmos_rtc::WINDOW, rtc.clone())?;
        let keyboard = Arc::new(I8042::new(Arc::clone(&kit.power)));
        ports.insert(i8042::BASE, i8042::WINDOW, keyboard.clone())?;
        let power = Arc::new(AcpiPower::new(kit.line(SCI.into()), Arc::clone(&kit.power), since_now()));
        ports.insert(POWER.into(), acpi_power::WINDOW, power.clone())?;
        devices.extend([uart as Arc<dyn Device>, rtc, keyboard, power.clone()]);

        let mut segment = Segment::new(Windows { low: PCI_LOW, high: PCI_HIGH });
        let place = |slot| (slot_window(slot).into(), slot_gsi(slot));
        devices.extend(super::place_virtio(&mut kit, virtio, &mut segment, &mut memory, place)?);
        let segment = Arc::new(segment);
        segment.connect(&mut memory, ECAM)?;
        ports.insert(CONFIG_PORTS, 8, Arc::new(ConfigPorts::new(segment.clone())))?;
        devices.push(segment);

        Ok(Furnished { memory, ports, devices, power_button: power, serial_input })
    }

    fn boot(payload: &Payload, ram: &GuestRam, shape: &Shape) -> anyhow::Result<x86_64::CpuState> {
        let description = describe(shape);
        let rsdp = acpi::write(&description, ram)?;
        let ecam = ECAM..ECAM + Ecam::SIZE;
        let target =
            boot::x86_64::Target { ram, layout: &shape.ram, reserved: std::slice::from_ref(&ecam), rsdp };
        Ok(boot::x86_64::load(payload, &target, None)?)
    }
}

/// The offset of a register, as a port.
#[expect(clippy::cast_possible_truncation, reason = "the line above says that it fits")]
const fn port(offset: u64) -> u16 {
    assert!(offset <= 0xffff);
    offset as u16
}

fn describe(shape: &Shape) -> acpi::Description {
    let slots = match shape.config.transport {
        Transport::Pci => &[],
        Transport::Mmio => &shape.slots[..],
    };
    let mut slot_gsis = [0; 32];
    for (slot, gsi) in (0..).zip(&mut slot_gsis) {
        *gsi = slot_gsi(slot);
    }
    acpi::Description {
        apic_ids: (0..shape.config.cpus).collect(),
        pit_gsi: PIT_GSI,
        power: acpi::Power {
            pm1a_event: POWER + port(acpi_power::EVENT_BLOCK),
            pm1a_control: POWER + port(acpi_power::CONTROL_BLOCK),
            pm_timer: POWER + port(acpi_power::TIMER_BLOCK),
            reset: POWER + port(acpi_power::RESET_REGISTER),
            reset_value: acpi_power::RESET_VALUE,
            sleep_type_s5: acpi_power::SLP_TYP_S5,
            sci: SCI,
        },
        pci: Some(acpi::Pci { ecam: ECAM..ECAM + Ecam::SIZE, windows: vec![PCI_LOW, PCI_HIGH], slot_gsis }),
        uart: Some(acpi::Ports { base: COM1, irq: COM1_IRQ }),
        rtc: Some(acpi::Ports { base: port(cmos_rtc::BASE), irq: RTC_IRQ }),
        virtio_mmio: slots
            .iter()
            .map(|slot| acpi::VirtioMmio { base: slot_window(*slot), gsi: slot_gsi(*slot) })
            .collect(),
    }
}

impl PowerButton for AcpiPower {
    fn press(&self) -> bool {
        self.press_power_button()
    }
}

fn since_now() -> impl Fn() -> Duration + Send + Sync {
    let start = Instant::now();
    move || start.elapsed()
}
