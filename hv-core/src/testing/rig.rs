//! `Rig`: one virtio device with its transport and a driver, and nothing else of a machine.

use std::sync::Arc;

use super::{
    RecordingChip, SoftDoorbells, SoftReclaimer,
    driver::{Driver, Interrupts, MmioRegisters, PciRegisters, Registers},
    ram,
};
use crate::{
    bus::Bus,
    device::Device,
    io::{DoorbellHost, NoDoorbellHost, Threads},
    irq::IrqLine,
    memory::GuestRam,
    pci::{PciDevice, Segment, Windows},
    virtio::{VirtioDevice, endpoint::Surroundings, mmio, pci},
};

/// How the device is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransportKind {
    /// MMIO; every doorbell arrives as an access.
    Mmio,
    /// MMIO; the host watches doorbells.
    MmioWatched,
    /// PCI with MSI-X; the host watches doorbells.
    PciMsix,
    /// PCI with INTA#; every doorbell arrives as an access.
    PciLine,
}

/// A device under test.
pub struct Rig {
    kind: TransportKind,
    /// Its driver, which has done nothing yet.
    pub driver: Driver,
    /// The device as its machine sees it.
    pub device: Arc<dyn Device>,
    /// The bus it is on.
    pub bus: Arc<Bus>,
    /// Where its interrupts go.
    pub chip: Arc<RecordingChip>,
    /// Who watches its doorbells.
    pub doorbells: SoftDoorbells,
    /// What was given back to the host, in granules of 16 KiB.
    pub reclaimer: SoftReclaimer,
    /// Guest RAM: 64 MiB at 0 and 1 MiB at 4 GiB.
    pub ram: GuestRam,
}

/// Where the MMIO window of a rig's device is.
const MMIO_BASE: u64 = 0xf000_0000;
/// Where configuration space of a rig's PCI segment is, and its device.
const ECAM: u64 = 0xe000_0000;
const SLOT: u8 = 3;
/// Interrupt line of a rig's device.
const GSI: u32 = 17;
/// The host's page: larger than the balloon's, so that devices must cope with both.
const GRANULE: u64 = 16 << 10;
/// Where the driver's memory begins.
const HEAP: u64 = 1 << 20;

impl TransportKind {
    /// All of them: a whole-device test runs on each.
    pub const ALL: [Self; 4] = [Self::Mmio, Self::MmioWatched, Self::PciMsix, Self::PciLine];
}

impl Rig {
    /// `device` behind a transport of this kind.
    ///
    /// # Panics
    /// The rig itself is wrong.
    pub fn new(kind: TransportKind, device: Box<dyn VirtioDevice>) -> Self {
        let ram = ram(&[(0, 64 << 20), (4 << 30, 1 << 20)]);
        let chip = Arc::new(RecordingChip::default());
        let doorbells = SoftDoorbells::default();
        let host: Arc<dyn DoorbellHost> = match kind {
            TransportKind::MmioWatched | TransportKind::PciMsix => Arc::new(doorbells.clone()),
            TransportKind::Mmio | TransportKind::PciLine => Arc::new(NoDoorbellHost),
        };
        let reclaimer = SoftReclaimer::new(ram.clone(), GRANULE);
        let surroundings = Surroundings {
            ram: ram.clone(),
            doorbells: host,
            reclaimer: Arc::new(reclaimer.clone()),
            threads: Threads::of_any_kind(),
        };
        let line = IrqLine::new(chip.clone(), GSI);
        let mut bus = Bus::default();
        let device: Arc<dyn Device> = match kind {
            TransportKind::Mmio | TransportKind::MmioWatched => {
                let device = Arc::new(mmio::Mmio::new(device, surroundings, MMIO_BASE, line));
                bus.insert(MMIO_BASE, mmio::WINDOW_SIZE, device.clone()).expect("the bus is empty");
                device
            }
            TransportKind::PciMsix | TransportKind::PciLine => {
                let device = pci::Pci::new(device, surroundings, chip.clone(), line).expect("a function");
                segment(&mut bus, Arc::new(device))
            }
        };
        let bus = Arc::new(bus);
        let registers = registers(kind, &bus, &doorbells, &chip);
        let driver = Driver::new(registers, ram.clone(), HEAP);
        Self { kind, driver, device, bus, chip, doorbells, reclaimer, ram }
    }

    /// Finds the device again, after the machine's reset.
    pub fn reconnect(&mut self) {
        let registers = self.registers();
        self.driver.reconnect(registers);
    }

    fn registers(&self) -> Box<dyn Registers> {
        registers(self.kind, &self.bus, &self.doorbells, &self.chip)
    }

    /// Runs `test` with a device of `make` on each kind of transport.
    pub fn on_each<D: VirtioDevice + 'static>(make: impl Fn() -> D, test: impl Fn(Self)) {
        for kind in TransportKind::ALL {
            eprintln!("on {kind:?}:");
            test(Self::new(kind, Box::new(make())));
        }
    }
}

/// A segment on `bus` with one device.
pub(crate) fn segment(bus: &mut Bus, device: Arc<dyn PciDevice>) -> Arc<Segment> {
    let windows = Windows { low: 0xc000_0000..0xe000_0000, high: 448 << 30..512 << 30 };
    let mut segment = Segment::new(windows);
    segment.add(SLOT, device).expect("the segment is empty");
    let segment = Arc::new(segment);
    segment.connect(bus, ECAM).expect("the bus is empty");
    segment
}

/// The way of a driver to the device.
pub(crate) fn registers(
    kind: TransportKind,
    bus: &Arc<Bus>,
    doorbells: &SoftDoorbells,
    chip: &Arc<RecordingChip>,
) -> Box<dyn Registers> {
    let (bus, doorbells, chip) = (bus.clone(), doorbells.clone(), chip.clone());
    match kind {
        TransportKind::Mmio | TransportKind::MmioWatched => {
            Box::new(MmioRegisters::new(bus, MMIO_BASE, doorbells, chip, GSI))
        }
        TransportKind::PciMsix => {
            Box::new(PciRegisters::new(bus, ECAM, SLOT, doorbells, chip, Interrupts::Msix))
        }
        TransportKind::PciLine => {
            Box::new(PciRegisters::new(bus, ECAM, SLOT, doorbells, chip, Interrupts::Line(GSI)))
        }
    }
}
