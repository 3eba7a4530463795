//! The requests of a balloon's driver.

use std::{ops::Range, time::Duration};

use hv_core::virtio::{
    VirtioDevice,
    balloon::{Balloon, BalloonHandle},
    negotiation::TRANSPORT_FEATURES,
};

use crate::{
    Input,
    ram::{self, Snapshot},
    rings::{BUFFERS, Rings},
    virtio::{self, Machine},
    virtio_mmio::{Window, connect},
    virtio_transport::Transport,
};

const QUEUES: u16 = 5;
const QUEUE_SIZE: u16 = 64;
const INFLATION: usize = 0;
const STATISTICS: usize = 2;
const PAGE: u64 = 4096;
/// The configuration space behind the registers of the transport, and what of it holds the poison.
const CONFIG: u64 = 0xf000_0100;
const POISON: u64 = 12;
/// Rings and messages are below: who gives them away hears nothing more.
const LEAST_PAGE: u32 = 5;
/// So many messages have room at a time.
const MESSAGES: u16 = 8;

struct Driver {
    machine: Machine,
    handle: BalloonHandle,
    rings: Vec<Rings>,
    slots: [u16; QUEUES as usize],
    /// Chains that the device has not seen.
    waiting: u16,
    /// What the device may give to the host when it next serves.
    given: Vec<Range<u64>>,
    reported: Vec<Range<u64>>,
    poison: [u8; 4],
}

/// Pages and ranges of any number and place, statistics of any content, stores to the configuration space, wishes.
///
/// Only pages that the driver gave lose their content, and those that it reports free only if it keeps nothing in
/// them; the host never hears of more than there was.
///
/// # Panics
/// The device breaks one of these.
pub fn balloon(data: &[u8]) {
    let mut input = Input::new(data);
    let mut driver = Driver::new();
    while !input.is_empty() {
        match input.u8() % 8 {
            0 | 1 => driver.pages(&mut input),
            2 | 3 => driver.report(&mut input),
            4 => {
                let len = usize::from(input.u8());
                let statistics = input.bytes(len).to_vec();
                driver.send(STATISTICS, &statistics, input.u8());
            }
            5 => driver.store(&mut input),
            6 => {
                driver.handle.set_target(input.number());
                driver.handle.statistics(Duration::ZERO);
            }
            _ => driver.serve(),
        }
    }
    driver.serve();
}

impl Driver {
    fn new() -> Self {
        let (device, handle) = Balloon::new("balloon0");
        let features = device.features() | TRANSPORT_FEATURES & !(1 << 29);
        let machine = Machine::of(ram::two_pieces(), Box::new(device), connect);
        let rings: Vec<_> = (0..QUEUES).map(|queue| Rings::orderly(queue, QUEUE_SIZE)).collect();
        for (address, bytes) in Window.start(features, &rings) {
            machine.bus.write(address, &bytes);
        }
        let slots = [0; QUEUES as usize];
        let (given, reported) = (Vec::new(), Vec::new());
        Self { machine, handle, rings, slots, waiting: 0, given, reported, poison: [0; 4] }
    }

    fn chain(&mut self, queue: usize, buffers: &[(u64, u32, bool)]) {
        self.rings[queue].chain(&self.machine.ram, self.slots[queue], buffers);
        let slot = &mut self.slots[queue];
        *slot = slot.wrapping_add(u16::try_from(buffers.len()).expect("few buffers"));
        self.waiting += 1;
        if self.waiting == MESSAGES {
            self.serve();
        }
    }

    /// Sends bytes; `odd` of them may be missing.
    fn send(&mut self, queue: usize, bytes: &[u8], odd: u8) {
        let place = u64::from(self.slots[queue] % MESSAGES);
        let address = BUFFERS + queue as u64 * 0x800 + place * 0x100;
        ram::store(&self.machine.ram, address, bytes);
        let len = bytes.len().saturating_sub(usize::from(odd.saturating_sub(0xf8)));
        self.chain(queue, &[(address, u32::try_from(len).expect("few bytes"), false)]);
    }

    /// Pages come into the balloon, or go out.
    fn pages(&mut self, input: &mut Input<'_>) {
        let queue = usize::from(input.u8() & 1);
        let count = usize::from(input.u8() & 0x1f);
        let pages = (0..count).map(|_| match input.u8() {
            0 => input.u32(),
            page => u32::from(page) % 0x12,
        });
        let pages: Vec<u32> = pages.map(|page| page.max(LEAST_PAGE)).collect();
        if queue == INFLATION {
            let addresses = pages.iter().map(|page| u64::from(*page) * PAGE);
            self.given.extend(addresses.map(|address| address..address + PAGE));
        }
        let bytes: Vec<u8> = pages.iter().flat_map(|page| page.to_le_bytes()).collect();
        self.send(queue, &bytes, input.u8());
    }

    fn report(&mut self, input: &mut Input<'_>) {
        let count = 1 + usize::from(input.u8() & 3);
        let mut buffers = Vec::new();
        for _ in 0..count {
            let address = match input.u8() {
                0 => input.number(),
                1..=0x3f => ram::HIGH + input.below(0x1001),
                kind @ 0x40..=0xdf => (u64::from(LEAST_PAGE) + u64::from(kind) % 3) * PAGE,
                _ => input.below(ram::LOW as u64),
            };
            let address = address.max(u64::from(LEAST_PAGE) * PAGE);
            let len = match input.u8() {
                0 => input.u32(),
                kind => u32::from(kind & 3) * 0x800,
            };
            self.reported.push(address..address.saturating_add(len.into()));
            buffers.push((address, len, input.u8() != 0));
        }
        self.chain(3 + usize::from(input.flag()), &buffers);
    }

    fn store(&mut self, input: &mut Input<'_>) {
        let offset = input.choose(&[0_u64, 4, 4, 8, 12, 12, 13, 16]);
        let bytes = if input.flag() { vec![0; 4] } else { input.store() };
        self.machine.bus.write(CONFIG + offset, &bytes);
        let mut poison = [0; 4];
        self.machine.bus.read(CONFIG + POISON, &mut poison);
        self.poison = poison;
    }

    /// Lets the device work, and looks at what it did to RAM.
    fn serve(&mut self) {
        self.waiting = 0;
        let before = Snapshot::of(&self.machine.ram);
        let given_before = self.handle.reclaimed();
        virtio::ring(&self.machine);
        self.machine.serve();
        let mut allowed = std::mem::take(&mut self.given);
        let reported = std::mem::take(&mut self.reported);
        if self.poison == [0; 4] {
            allowed.extend(reported);
        }
        let most: u64 = allowed.iter().map(|range| range.end - range.start).sum();
        assert!(self.handle.reclaimed() - given_before <= most, "the host got more than there was");
        allowed.extend(self.rings.iter().map(|rings| rings.used..rings.used + 6 + 8 * u64::from(QUEUE_SIZE)));
        before.assert_same(&self.machine.ram, &allowed, "the balloon");
        let mut told = [0; 4];
        self.machine.bus.read(CONFIG, &mut told);
        assert_eq!(u64::from(u32::from_le_bytes(told)) * PAGE, self.handle.target());
    }
}
