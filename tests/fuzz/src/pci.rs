//! PCI configuration space by both mechanisms, BARs that move, MSI-X tables, INTx.

use std::sync::{Arc, Mutex};

use hv_core::{
    bus::{Bus, BusDevice},
    device::Device,
    irq::{IrqChip, IrqLine, Msi},
    pci::{Bar, ConfigPorts, Function, Identity, MsixLayout, PciDevice, Segment, Windows},
};

use crate::{Input, twins};

const ECAM: u64 = 0xe000_0000;
const LOW: std::ops::Range<u64> = 0xc000_0000..0xc010_0000;
const HIGH: std::ops::Range<u64> = 0x70_0000_0000..0x80_0000_0000;
const COMMAND: u64 = 0x04;
const MEMORY_SPACE: u8 = 1 << 1;
const BUS_MASTER: u8 = 1 << 2;
const SIZES: [u64; 3] = [0x1000, 0, 0x1_0000];
const TABLE: u32 = 0x8000;
const PENDING: u32 = 0xc000;

/// Counts messages, knows the line's level.
#[derive(Default)]
struct Chip(Mutex<(u64, bool)>);

impl IrqChip for Chip {
    fn set_line(&self, _: u32, high: bool) {
        self.0.lock().unwrap().1 = high;
    }

    fn send_msi(&self, _: Msi) {
        self.0.lock().unwrap().0 += 1;
    }
}

/// Answers with where it was asked; checks that accesses lie in its BARs and that it is told when those move.
struct Scratch {
    function: Function,
    told: Mutex<[Option<u64>; 2]>,
}

impl Scratch {
    /// BAR 0: 4 KiB below 4 GiB. BAR 2: 64 KiB anywhere, with MSI-X.
    fn new(chip: &Arc<Chip>, vectors: u16) -> Self {
        let identity = Identity {
            vendor: 0x1af4,
            device: 0x1042,
            revision: 1,
            class: 0x01_80_00,
            subsystem_vendor: 2,
            subsystem: 3,
        };
        let mut builder = Function::builder(identity);
        builder.bar(0, Bar::memory32(SIZES[0])).expect("a BAR");
        builder.bar(2, Bar::memory64(SIZES[2]).prefetchable()).expect("a BAR");
        let layout = MsixLayout { vectors, bar: 2, table: TABLE, pending: PENDING };
        builder.msix(layout, chip.clone()).expect("a table that fits");
        builder.intx(IrqLine::new(chip.clone(), 19));
        Self { function: builder.build(), told: Mutex::default() }
    }

    fn bars(&self) -> [Option<u64>; 2] {
        [0, 2].map(|bar| self.function.bar_address(bar))
    }

    fn check(bar: u8, offset: u64, size: usize) {
        assert!(offset + size as u64 <= SIZES[usize::from(bar)], "{size} bytes at {offset:#x} of BAR {bar}");
    }
}

impl Device for Scratch {
    fn name(&self) -> &str {
        "scratch"
    }

    fn reset(&self) {}
}

impl PciDevice for Scratch {
    fn function(&self) -> &Function {
        &self.function
    }

    fn read_bar(&self, bar: u8, offset: u64, data: &mut [u8]) {
        Self::check(bar, offset, data.len());
        data.fill(offset.to_le_bytes()[0] ^ bar);
    }

    fn write_bar(&self, bar: u8, offset: u64, data: &[u8]) {
        Self::check(bar, offset, data.len());
    }

    fn bars_changed(&self) {
        *self.told.lock().unwrap() = self.bars();
    }
}

/// A guest with one device at slot 3 and one at slot 9.
struct Guest {
    bus: Bus,
    ports: ConfigPorts,
    segment: Arc<Segment>,
    devices: [(u64, Arc<Scratch>, Arc<Chip>); 2],
}

impl Guest {
    fn new(vectors: u16) -> Self {
        let mut segment = Segment::new(Windows { low: LOW, high: HIGH });
        let devices = [3_u8, 9].map(|slot| {
            let chip = Arc::new(Chip::default());
            let device = Arc::new(Scratch::new(&chip, vectors));
            segment.add(slot, device.clone()).expect("a free slot");
            (ECAM + (u64::from(slot) << 15), device, chip)
        });
        let (segment, mut bus) = (Arc::new(segment), Bus::default());
        segment.connect(&mut bus, ECAM).expect("the bus is empty");
        let ports = ConfigPorts::new(Arc::clone(&segment));
        Self { bus, ports, segment, devices }
    }

    fn byte(&self, address: u64) -> u8 {
        let mut byte = [0];
        self.bus.read(address, &mut byte);
        byte[0]
    }
}

/// Any accesses, interrupts of the devices in between.
///
/// Loads set every byte; no access passes the end of a BAR; a device is told where its BARs are; BARs decode only with
/// Memory Space on and within the windows; no message leaves a function that is no bus master or has MSI-X off; who
/// the device is never changes; a reset brings everything back.
///
/// # Panics
/// The segment breaks one of these.
pub fn pci(data: &[u8]) {
    let mut input = Input::new(data);
    let vectors = input.choose(&[1, 3, 64, 66, 1000]);
    let twins = [Guest::new(vectors), Guest::new(vectors)];
    while !input.is_empty() {
        step(&mut input, &twins);
        twins[0].devices.iter().for_each(|device| check(&twins[0], device));
    }
    for guest in &twins {
        guest.segment.pause();
        guest.segment.reset();
        guest.segment.resume();
        for (config, device, chip) in &guest.devices {
            assert_eq!((guest.byte(config + COMMAND), device.bars()), (0, [None, None]));
            assert!(!chip.0.lock().unwrap().1, "the line is high after a reset");
        }
    }
}

fn step(input: &mut Input<'_>, twins: &[Guest; 2]) {
    let which = usize::from(input.flag());
    let (config, device, _) = &twins[0].devices[which];
    let bar = device.bars()[1].unwrap_or(HIGH.start);
    let address = match input.u8() & 0x1f {
        0 => return twins.iter().for_each(|guest| guest.devices[which].1.function.set_intx(true)),
        1 => return twins.iter().for_each(|guest| guest.devices[which].1.function.set_intx(false)),
        2..=5 => {
            let vector = input.choose(&[0, 1, 63, 64, 65, 66, 999, 1000, u16::MAX]);
            return twins.iter().for_each(|guest| fire(&guest.devices[which], &guest.bus, vector));
        }
        6 => return twins.iter().for_each(|guest| guest.segment.reset()),
        7..=9 => return ports(input, twins),
        10 => input.u64(),
        11 => ECAM + (input.u64() & 0xf_ffff),
        12 => LOW.start + input.below(0x3000),
        13..=15 => bar + input.below(0x1_0010) % 0x1_0010,
        16..=18 => bar + u64::from(TABLE) + input.below(0x450),
        19 => bar + u64::from(PENDING) + input.below(0x20),
        20 | 21 => config + COMMAND,
        // The MSI-X capability is the only one.
        22 | 23 => config + 0x40 + input.below(12),
        24..=26 => config + 0x10 + input.below(0x18),
        _ => config + input.below(0x110),
    };
    let (width, store) = (input.width(), input.flag().then(|| input.store()));
    if let Some(bytes) = store {
        twins.iter().for_each(|guest| guest.bus.write(address, &bytes));
    }
    let [one, two] = twins;
    let what = || format!("load of {width} bytes at {address:#x}");
    twins::load(|data| one.bus.read(address, data), |data| two.bus.read(address, data), width, what);
}

/// An access to the configuration ports.
fn ports(input: &mut Input<'_>, twins: &[Guest; 2]) {
    let [one, two] = twins;
    if input.flag() {
        let latch = 1 << 31 | u32::from(input.choose(&[3_u8, 9, 0])) << 11 | u32::from(input.u8());
        twins.iter().for_each(|guest| guest.ports.write(0, &latch.to_le_bytes()));
    }
    twins::Access::read(input, 8).play(&one.ports, &two.ports);
}

/// The device interrupts.
fn fire((config, device, chip): &(u64, Arc<Scratch>, Arc<Chip>), bus: &Bus, vector: u16) {
    let before = chip.0.lock().unwrap().0;
    device.function.fire(vector);
    let sent = chip.0.lock().unwrap().0 - before;
    let mut command = [0];
    bus.read(config + COMMAND, &mut command);
    let may = command[0] & BUS_MASTER != 0
        && device.function.is_msix_enabled()
        && vector < device.function.msix_vectors();
    assert!(sent <= u64::from(may), "{sent} messages");
}

fn check(guest: &Guest, (config, device, _): &(u64, Arc<Scratch>, Arc<Chip>)) {
    let mut identity = [0; 4];
    guest.bus.read(*config, &mut identity);
    assert_eq!(identity, [0xf4, 0x1a, 0x42, 0x10]);
    let bars = device.bars();
    assert_eq!(*device.told.lock().unwrap(), bars, "told otherwise");
    let decodes = guest.byte(config + COMMAND) & MEMORY_SPACE != 0;
    for (address, size) in bars.into_iter().zip([SIZES[0], SIZES[2]]) {
        let within = |at: u64, window: &std::ops::Range<u64>| window.start <= at && at + size <= window.end;
        assert!(address.is_none_or(|at| decodes && (within(at, &LOW) || within(at, &HIGH))));
    }
}
