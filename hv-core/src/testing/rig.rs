//! `Rig`: one virtio device with its transport and a driver, and nothing else of a machine.

use std::sync::Arc;

use super::{
    RecordingChip, SoftDoorbells,
    driver::{Driver, MmioRegisters, Registers},
    ram,
};
use crate::{
    bus::Bus,
    device::Device,
    io::{DoorbellHost, NoDoorbellHost},
    irq::IrqLine,
    memory::GuestRam,
    virtio::{VirtioDevice, endpoint::Surroundings, mmio},
};

/// How the device is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransportKind {
    /// MMIO; every doorbell arrives as an access.
    Mmio,
    /// MMIO; the host watches doorbells.
    MmioWatched,
}

/// A device under test.
pub struct Rig {
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
    /// Guest RAM: 64 MiB at 0 and 1 MiB at 4 GiB.
    pub ram: GuestRam,
}

/// Where the MMIO window of a rig's device is.
const MMIO_BASE: u64 = 0xf000_0000;
/// Interrupt line of a rig's device.
const GSI: u32 = 17;
/// Where the driver's memory begins.
const HEAP: u64 = 1 << 20;

impl TransportKind {
    /// All of them: a whole-device test runs on each.
    pub const ALL: [Self; 2] = [Self::Mmio, Self::MmioWatched];

    fn watched(self) -> bool {
        matches!(self, Self::MmioWatched)
    }
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
        let host: Arc<dyn DoorbellHost> =
            if kind.watched() { Arc::new(doorbells.clone()) } else { Arc::new(NoDoorbellHost) };
        let surroundings = Surroundings { ram: ram.clone(), doorbells: host };
        let line = IrqLine::new(chip.clone(), GSI);
        let device = Arc::new(mmio::Mmio::new(device, surroundings, MMIO_BASE, line));
        let mut bus = Bus::default();
        bus.insert(MMIO_BASE, mmio::WINDOW_SIZE, device.clone()).expect("the bus is empty");
        let bus = Arc::new(bus);
        let registers: Box<dyn Registers> =
            Box::new(MmioRegisters::new(bus.clone(), MMIO_BASE, doorbells.clone(), chip.clone(), GSI));
        let driver = Driver::new(registers, ram.clone(), HEAP);
        Self { driver, device, bus, chip, doorbells, ram }
    }

    /// Runs `test` with a device of `make` on each kind of transport.
    pub fn on_each<D: VirtioDevice + 'static>(make: impl Fn() -> D, test: impl Fn(Self)) {
        for kind in TransportKind::ALL {
            eprintln!("on {kind:?}:");
            test(Self::new(kind, Box::new(make())));
        }
    }
}
