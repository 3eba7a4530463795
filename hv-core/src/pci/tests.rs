//! The segment as a guest sees it: a bus with two devices, and their interrupts.

mod bars;
mod configuration;
mod interrupts;
mod random;

use std::sync::{Arc, Mutex};

use super::*;
use crate::{
    bus::{Bus, BusDevice},
    irq::{IrqChip, IrqLine, Msi},
};

const ECAM: u64 = 0xe000_0000;
const LOW: std::ops::Range<u64> = 0xc000_0000..0xc010_0000;
const HIGH: std::ops::Range<u64> = 0x70_0000_0000..0x80_0000_0000;
const VECTORS: u16 = 66;
const TABLE: u64 = 0x8000;
const PENDING: u64 = 0xc000;

const COMMAND: u64 = 0x04;
const MEMORY_SPACE: u16 = 1 << 1;
const BUS_MASTER: u16 = 1 << 2;
const INTERRUPT_DISABLE: u16 = 1 << 10;
const BAR0: u64 = 0x10;
const BAR2: u64 = 0x18;

/// Notes what it is told.
#[derive(Default)]
struct Chip {
    levels: Mutex<Vec<(u32, bool)>>,
    messages: Mutex<Vec<Msi>>,
}

impl IrqChip for Chip {
    fn set_line(&self, gsi: u32, high: bool) {
        self.levels.lock().unwrap().push((gsi, high));
    }
    fn send_msi(&self, message: Msi) {
        self.messages.lock().unwrap().push(message);
    }
}

/// Reads as its number and the low byte of each offset's BAR and address; notes stores and moves.
struct Scratch {
    number: u8,
    function: Function,
    stores: Mutex<Vec<(u8, u64, Vec<u8>)>>,
    moves: Mutex<Vec<[Option<u64>; 2]>>,
    resets: Mutex<u32>,
}

impl Scratch {
    /// BAR 0: 4 KiB below 4 GiB. BAR 2: 64 KiB anywhere, with MSI-X. Its line is GSI 16 + `number`.
    fn new(number: u8, chip: &Arc<Chip>) -> Arc<Self> {
        let mut builder = Function::builder(identity());
        builder.bar(0, Bar::memory32(0x1000)).unwrap();
        builder.bar(2, Bar::memory64(0x1_0000).prefetchable()).unwrap();
        let layout = MsixLayout { vectors: VECTORS, bar: 2, table: 0x8000, pending: 0xc000 };
        builder.msix(layout, chip.clone()).unwrap();
        builder.intx(IrqLine::new(chip.clone(), 16 + u32::from(number)));
        let function = builder.build();
        Arc::new(Self { number, function, stores: vec![].into(), moves: vec![].into(), resets: 0.into() })
    }
}

impl Device for Scratch {
    fn name(&self) -> &str {
        "scratch"
    }
    fn reset(&self) {
        *self.resets.lock().unwrap() += 1;
    }
}

impl PciDevice for Scratch {
    fn function(&self) -> &Function {
        &self.function
    }
    fn read_bar(&self, bar: u8, offset: u64, data: &mut [u8]) {
        for (byte, at) in data.iter_mut().zip(offset..) {
            *byte = self.number << 4 | bar << 2 | (at & 3) as u8;
        }
    }
    fn write_bar(&self, bar: u8, offset: u64, data: &[u8]) {
        self.stores.lock().unwrap().push((bar, offset, data.to_vec()));
    }
    fn bars_changed(&self) {
        self.moves.lock().unwrap().push([0, 2].map(|bar| self.function.bar_address(bar)));
    }
}

fn identity() -> Identity {
    Identity {
        vendor: 0x1af4,
        device: 0x1042,
        revision: 1,
        class: 0x01_80_00,
        subsystem_vendor: 2,
        subsystem: 3,
    }
}

/// A guest with devices 3 and 4.
struct Guest {
    chip: Arc<Chip>,
    segment: Arc<Segment>,
    bus: Bus,
    ports: ConfigPorts,
    three: Arc<Scratch>,
    four: Arc<Scratch>,
}

impl Guest {
    fn new() -> Self {
        let chip = Arc::new(Chip::default());
        let (three, four) = (Scratch::new(3, &chip), Scratch::new(4, &chip));
        let mut segment = Segment::new(Windows { low: LOW, high: HIGH });
        segment.add(3, three.clone()).unwrap();
        segment.add(4, four.clone()).unwrap();
        let (segment, mut bus) = (Arc::new(segment), Bus::default());
        segment.connect(&mut bus, ECAM).unwrap();
        let ports = ConfigPorts::new(segment.clone());
        Self { chip, segment, bus, ports, three, four }
    }

    fn load<const N: usize>(&self, address: u64) -> [u8; N] {
        let mut data = [0x5a; N];
        self.bus.read(address, &mut data);
        data
    }

    fn load32(&self, address: u64) -> u32 {
        u32::from_le_bytes(self.load(address))
    }

    /// A 32-bit register of `device`, by ECAM.
    fn config(&self, device: u8, register: u64) -> u32 {
        self.load32(ecam(device, register))
    }

    fn set_config(&self, device: u8, register: u64, value: u32) {
        self.bus.write(ecam(device, register), &value.to_le_bytes());
    }

    fn set_command(&self, device: u8, value: u16) {
        self.bus.write(ecam(device, COMMAND), &value.to_le_bytes());
    }

    /// Where BAR 2 of `device` is.
    fn bar2(&self, device: u8) -> u64 {
        u64::from(self.config(device, BAR2 + 4)) << 32 | u64::from(self.config(device, BAR2) & !0xf)
    }
}

fn ecam(device: u8, register: u64) -> u64 {
    ECAM + (u64::from(device) << 15) + register
}
