//! The virtio PCI transport with each device behind it.

use std::sync::Arc;

use hv_core::{
    bus::Bus,
    irq::IrqLine,
    pci::{Segment, Windows},
    virtio::pci::Pci,
};

use crate::{
    Input,
    rings::Rings,
    virtio::{Machine, Model},
    virtio_transport::{Store, Transport, play},
};

const ECAM: u64 = 0xe000_0000;
const SLOT: u8 = 3;
const CONFIG: u64 = ECAM + ((SLOT as u64) << 15);
const CONFIG_SIZE: u16 = 256;
/// Where the segment puts the one BAR.
const BAR: u64 = 448 << 30;
const BAR_SIZE: u64 = 0x8000;
const MSIX: u8 = 0x11;
/// Vendor-specific, and `cfg_type` of the window (VIRTIO 1.2, 4.1.4).
const VENDOR: u8 = 9;
const WINDOW: u8 = 5;
const GSI: u32 = 17;

struct Function {
    /// Configuration space after power-on.
    fresh: Vec<u8>,
    /// Offset of the MSI-X capability.
    msix: u64,
    /// Offset of the capability that is a window into the BAR.
    window: u64,
}

/// Accesses of any width to configuration space and BAR, set-up of queues anywhere, hostile rings, doorbells.
///
/// Loads set every byte; the device touches no RAM unless its driver is ready, and none after a reset; its workers come
/// to rest; no line stays high after a reset, and configuration space is what it was at power-on.
///
/// # Panics
/// One of these is not so.
pub fn virtio_pci(data: &[u8]) {
    let mut input = Input::new(data);
    let model = input.choose(&Model::ALL);
    let meddles = input.u8() == 0;
    let make = || {
        Machine::new(model, meddles, |device, surroundings, chip, bus| {
            let line = IrqLine::new(chip.clone(), GSI);
            let function = Pci::new(device, surroundings, chip, line).expect("a function");
            let mut segment =
                Segment::new(Windows { low: 0xc000_0000..0xe000_0000, high: 448 << 30..512 << 30 });
            segment.add(SLOT, Arc::new(function)).expect("the segment is empty");
            let segment = Arc::new(segment);
            segment.connect(bus, ECAM).expect("the bus is empty");
            segment
        })
    };
    let (one, two) = (make(), make());
    let fresh = config(&one.bus);
    let find = |id, kind| capability(&fresh, id, kind).expect("the function has this capability");
    let (msix, window) = (find(MSIX, None), find(VENDOR, Some(WINDOW)));
    play(input, &Function { fresh, msix, window }, model, [&one, &two]);
}

impl Transport for Function {
    fn address(&self, input: &mut Input<'_>) -> u64 {
        match input.u8() {
            0 => input.u64(),
            1..=0x1f => ECAM + (input.below(32) << 15) + input.below(0x1000),
            0x20..=0x5f => CONFIG + input.below(0xc0),
            0x60..=0x6f => BAR + input.below(BAR_SIZE + 8),
            0x70..=0x77 => BAR + 0x1000 + input.below(8),
            0x78..=0x7f => BAR + 0x2000 + input.below(0x50),
            0x80..=0x8f => BAR + 0x3000 + input.below(4) * 4,
            0x90..=0x9f => BAR + 0x4000 + input.below(0x40),
            0xa0..=0xa7 => BAR + 0x5000 + input.below(16),
            _ => BAR + input.below(0x38),
        }
    }

    fn start(&self, features: u64, queues: &[Rings]) -> Vec<Store> {
        let mut stores = vec![(CONFIG + 4, vec![6, 0]), (CONFIG + self.msix + 2, vec![0, 0x80])];
        for vector in 0..7_u8 {
            let entry = [0, 0, 0xe0, 0xfe, 0, 0, 0, 0, 0x40 + vector, 0, 0, 0, 0, 0, 0, 0];
            stores.extend(
                (0..)
                    .step_by(4)
                    .zip(entry.chunks(4))
                    .map(|(at, word)| (BAR + 0x4000 + u64::from(vector) * 16 + at, word.to_vec())),
            );
        }
        let mut store = |register: u64, value: &[u8]| stores.push((BAR + register, value.to_vec()));
        [0, 1, 3].into_iter().for_each(|status| store(0x14, &[status]));
        for half in 0..2_u8 {
            store(0x08, &[half, 0, 0, 0]);
            store(0x0c, &(features >> (32 * half)).to_le_bytes()[..4]);
        }
        store(0x14, &[0xb]);
        store(0x10, &[0, 0]);
        for (queue, rings) in (0..).zip(queues) {
            store(0x16, &u16::to_le_bytes(queue));
            store(0x18, &rings.size.to_le_bytes());
            store(0x1a, &u16::to_le_bytes(queue + 1));
            for (register, address) in
                [(0x20, rings.descriptors), (0x28, rings.available), (0x30, rings.used)]
            {
                store(register, &address.to_le_bytes());
            }
            store(0x1c, &[1, 0]);
        }
        store(0x14, &[0xf]);
        stores
    }

    /// Through the window in configuration space (4.1.4.9).
    fn detour(&self, input: &mut Input<'_>) -> Vec<Store> {
        let len = input.choose(&[1_u8, 2, 4, 4, 3]);
        let place =
            input.choose(&[0_u32, 0x1000, 0x2000, 0x3000, 0x3ffc, 0x4000]) + u32::from(input.u8() & 0x3f);
        let bar = input.u8() / 0xf0;
        let data = input.store();
        vec![
            (CONFIG + self.window + 4, vec![bar]),
            (CONFIG + self.window + 8, place.to_le_bytes().to_vec()),
            (CONFIG + self.window + 12, vec![len, 0, 0, 0]),
            (CONFIG + self.window + 16, data),
        ]
    }

    /// Through the window in configuration space it would change; so where the BAR was put, or as if not ready.
    fn status(&self, bus: &Bus) -> u8 {
        let mut status = [0];
        bus.read(BAR + 0x14, &mut status);
        status[0]
    }

    fn check_reset(&self, machine: &Machine) {
        assert!(!machine.chip.line(GSI), "the line is high after a reset");
        assert!(
            config(&machine.bus) == self.fresh,
            "configuration space after a reset is not that of power-on"
        );
        machine.bus.write(CONFIG + 4, &[2, 0]);
        assert_eq!(self.status(&machine.bus), 0, "status after a reset");
        machine.bus.write(CONFIG + 4, &[0, 0]);
    }
}

/// Configuration space, one byte after the other.
fn config(bus: &Bus) -> Vec<u8> {
    let byte = |at: u16| {
        let mut byte = [0];
        bus.read(CONFIG + u64::from(at), &mut byte);
        byte[0]
    };
    (0..CONFIG_SIZE).map(byte).collect()
}

/// Offset of capability `id`, of this type if one is given.
fn capability(config: &[u8], id: u8, kind: Option<u8>) -> Option<u64> {
    let mut at = config[0x34];
    while at != 0 {
        let body = &config[usize::from(at)..];
        if body[0] == id && kind.is_none_or(|kind| body[3] == kind) {
            return Some(at.into());
        }
        at = body[1];
    }
    None
}
