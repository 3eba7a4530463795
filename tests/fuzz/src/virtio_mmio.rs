//! The virtio MMIO transport with each device behind it.

use std::sync::Arc;

use hv_core::{
    bus::Bus,
    device::Device,
    irq::IrqLine,
    testing::RecordingChip,
    virtio::{
        VirtioDevice,
        endpoint::Surroundings,
        mmio::{Mmio, WINDOW_SIZE},
    },
};

use crate::{
    Input,
    rings::Rings,
    virtio::{Machine, Model},
    virtio_transport::{Store, Transport, play},
};

const BASE: u64 = 0xf000_0000;
const GSI: u32 = 17;

pub(crate) struct Window;

/// Register accesses of any width, set-up of queues anywhere, hostile rings, doorbells.
///
/// Loads set every byte; the device touches no RAM unless its driver is ready, and none after a reset; its workers come
/// to rest; no line stays high after a reset.
///
/// # Panics
/// One of these is not so.
pub fn virtio_mmio(data: &[u8]) {
    let mut input = Input::new(data);
    let model = input.choose(&Model::ALL);
    let meddles = input.u8() == 0;
    let make = || Machine::new(model, meddles, connect);
    play(input, &Window, model, [&make(), &make()]);
}

/// Puts `device` behind the transport.
pub(crate) fn connect(
    device: Box<dyn VirtioDevice>,
    surroundings: Surroundings,
    chip: Arc<RecordingChip>,
    bus: &mut Bus,
) -> Arc<dyn Device> {
    let mmio = Arc::new(Mmio::new(device, surroundings, BASE, IrqLine::new(chip, GSI)));
    bus.insert(BASE, WINDOW_SIZE, mmio.clone()).expect("the bus is empty");
    mmio
}

/// Registers that a driver stores to or loads from (4.2.2).
const REGISTERS: [u64; 30] = [
    0x00, 0x04, 0x08, 0x0c, 0x10, 0x14, 0x20, 0x24, 0x30, 0x34, 0x38, 0x44, 0x50, 0x60, 0x64, 0x70, 0x70,
    0x80, 0x84, 0x90, 0x94, 0xa0, 0xa4, 0xac, 0xb0, 0xfc, 0x100, 0x104, 0x120, 0x138,
];

impl Transport for Window {
    fn address(&self, input: &mut Input<'_>) -> u64 {
        match input.u8() {
            0 => input.u64(),
            1..=0x1f => BASE - 8 + input.below(WINDOW_SIZE + 16),
            _ => BASE + input.choose(&REGISTERS),
        }
    }

    fn start(&self, features: u64, queues: &[Rings]) -> Vec<Store> {
        let low = |value: u64| value.to_le_bytes()[..4].to_vec();
        let mut stores = vec![];
        let mut store = |register: u64, value: u64| stores.push((BASE + register, low(value)));
        [0, 1, 3].into_iter().for_each(|status| store(0x70, status));
        for half in 0..2 {
            store(0x24, half);
            store(0x20, features >> (32 * half));
        }
        store(0x70, 0xb);
        for (queue, rings) in (0..).zip(queues) {
            store(0x30, queue);
            store(0x38, rings.size.into());
            for (register, address) in
                [(0x80, rings.descriptors), (0x90, rings.available), (0xa0, rings.used)]
            {
                store(register, address);
                store(register + 4, address >> 32);
            }
            store(0x44, 1);
        }
        store(0x70, 0xf);
        stores
    }

    fn status(&self, bus: &Bus) -> u8 {
        register(bus, 0x70)[0]
    }

    fn check_reset(&self, machine: &Machine) {
        let bus = &machine.bus;
        assert!(!machine.chip.line(GSI), "the line is high after a reset");
        assert_eq!((register(bus, 0x70), register(bus, 0x60)), ([0; 4], [0; 4]), "status, interrupt status");
        for queue in 0..2 {
            bus.write(BASE + 0x30, &[queue, 0, 0, 0]);
            assert_eq!(register(bus, 0x44), [0; 4], "queue {queue} is enabled after a reset");
        }
    }
}

fn register(bus: &Bus, register: u64) -> [u8; 4] {
    let mut value = [0; 4];
    bus.read(BASE + register, &mut value);
    value
}
