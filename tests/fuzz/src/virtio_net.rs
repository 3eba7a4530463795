//! The frames, buffers and commands of a network card's driver.

use std::collections::VecDeque;

use hv_core::{
    memory::GuestRam,
    net::{FrameHeader, NetBackend, Offloads},
    testing::{Frame, SoftNetwork},
    virtio::{
        VirtioDevice,
        negotiation::TRANSPORT_FEATURES,
        net::{Net, NetHandle},
    },
};

use crate::{
    Input, ram,
    rings::{BUFFERS, Rings},
    virtio::{self, Machine},
    virtio_mmio::{Window, connect},
    virtio_transport::Transport,
};

/// Virtqueues: two pairs, and commands.
const PAIRS: usize = 2;
const CONTROL: usize = 2 * PAIRS;
const QUEUE_SIZE: u16 = 64;

const HEADER: usize = 12;
const MRG_RXBUF: u64 = 1 << 15;
const GUEST_CSUM: u64 = 1 << 1;
/// Checksums, TSO of both kinds, ECN.
const OFFLOADS: u64 = GUEST_CSUM | 1 << 7 | 1 << 8 | 1 << 9;
const EVENT_IDX: u64 = 1 << 29;

/// Where frames of the guest are, for each pair: so many at a time, each with so much room.
const SLOTS: u16 = 4;
const SLOT: u64 = 0x400;
/// Where frames for the guest go, for each pair.
const ROOMS: u16 = 16;
const ROOM: u64 = 0x100;
const FIRST_ROOM: u64 = BUFFERS + PAIRS as u64 * SLOTS as u64 * SLOT;
/// Where a command is, and its answer.
const COMMAND: u64 = FIRST_ROOM + PAIRS as u64 * ROOMS as u64 * ROOM;
const ANSWER: u64 = COMMAND + 0x100;

/// One pair as its driver sees it.
#[derive(Default)]
struct Pair {
    /// Chains offered in each of its queues, and those of the first looked at.
    offered: [u16; 2],
    taken: u16,
    /// Frames under way, in order: none comes that is not among them, nor before one that was offered earlier.
    of_guest: VecDeque<Frame>,
    to_guest: VecDeque<Frame>,
}

struct Driver {
    machine: Machine,
    handle: NetHandle,
    networks: Vec<SoftNetwork>,
    rings: Vec<Rings>,
    pairs: Vec<Pair>,
    is_mergeable: bool,
    /// Pairs that it uses.
    used: usize,
    commands: u16,
    /// Frames that came into being.
    frames: u64,
    /// It once wanted no frames with open checksums: what a frame says of its checksum may be left out.
    refused_checksums: bool,
    /// It breaks the protocol at will: nothing can be said of what comes.
    is_hostile: bool,
}

/// Frames with any header in chains of any cut, buffers of any size or none, commands of any content, a network with
/// room or without, a cable that is pulled; or rings of any content.
///
/// Frames arrive whole, with their headers, in their order, in as many buffers as their headers say; each is sent,
/// received or counted as lost; commands are answered as a model does; nothing but buffers is written.
///
/// # Panics
/// The device breaks one of these.
pub fn virtio_net(data: &[u8]) {
    let mut input = Input::new(data);
    let mut driver = Driver::new(&mut input);
    while !input.is_empty() && !driver.is_broken() {
        match input.u8() % 16 {
            0..=4 => driver.send(&mut input),
            5..=7 => driver.give(&mut input),
            8..=10 => driver.bring(&mut input),
            11 => driver.command(&mut input),
            12 => driver.change_network(&mut input),
            13 => driver.handle.set_link(input.flag()),
            14 if driver.is_hostile => {
                let rings = driver.rings[usize::from(input.u8()) % driver.rings.len()];
                rings.scribble(&driver.machine.ram, &mut input);
            }
            _ => {
                driver.machine.device.pause();
                driver.machine.device.resume();
            }
        }
        driver.serve();
    }
    driver.finish();
}

/// Bytes of a frame that tell it from others.
fn pattern(len: usize, seed: u64) -> Vec<u8> {
    (0..len as u64).map(|at| (at.wrapping_mul(seed | 1) ^ seed ^ at >> 8).to_le_bytes()[0]).collect()
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("4 bytes"))
}

/// Takes frames until `frame` is found: what was before it is lost.
fn find(expected: &mut VecDeque<Frame>, frame: &Frame, flags_may_be_gone: bool) {
    while let Some((mut header, bytes)) = expected.pop_front() {
        if flags_may_be_gone && frame.0.flags == 0 {
            header.flags = 0;
        }
        if (header, bytes) == *frame {
            return;
        }
    }
    panic!("a frame of {} bytes that nobody sent, or late: {:?}", frame.1.len(), frame.0);
}

impl Driver {
    fn new(input: &mut Input<'_>) -> Self {
        let kind = input.u8();
        let networks: Vec<_> =
            (0..PAIRS).map(|_| SoftNetwork::new(Offloads::all(), Offloads::all())).collect();
        networks.iter().for_each(|network| network.script().is_vague = kind & 2 != 0);
        let backends: Vec<Box<dyn NetBackend>> = networks.iter().map(SoftNetwork::backend).collect();
        let (device, handle) = Net::new("net0", [0x52, 0x54, 0, 1, 2, 3], backends);
        let mut features = device.features() | TRANSPORT_FEATURES & !EVENT_IDX;
        features &= !if kind & 1 != 0 { MRG_RXBUF } else { 0 };
        let machine = Machine::of(ram::two_pieces(), Box::new(device), connect);
        let rings: Vec<_> = (0..=4).map(|queue| Rings::orderly(queue, QUEUE_SIZE)).collect();
        for (address, bytes) in Window.start(features, &rings) {
            machine.bus.write(address, &bytes);
        }
        let driver = Self {
            machine,
            handle,
            networks,
            rings,
            pairs: (0..PAIRS).map(|_| Pair::default()).collect(),
            is_mergeable: features & MRG_RXBUF != 0,
            used: 1,
            commands: 0,
            frames: 0,
            refused_checksums: false,
            is_hostile: kind >= 0xc0,
        };
        driver.machine.serve();
        driver
    }

    fn ram(&self) -> &GuestRam {
        &self.machine.ram
    }

    fn is_broken(&self) -> bool {
        Window.status(&self.machine.bus) & 0x40 != 0
    }

    fn used(&self, queue: usize) -> u16 {
        u16_at(&ram::read(self.ram(), self.rings[queue].used + 2, 2), 0)
    }

    /// A pair that the driver uses.
    fn pair(&self, input: &mut Input<'_>) -> usize {
        usize::from(input.u8()) % self.used
    }

    /// Sends a frame, if there is a slot for it.
    fn send(&mut self, input: &mut Input<'_>) {
        let pair = self.pair(input);
        let queue = 2 * pair + 1;
        let slot = self.pairs[pair].offered[1];
        if slot.wrapping_sub(self.used(queue)) >= SLOTS {
            return;
        }
        let mut header = [0; HEADER];
        header.iter_mut().for_each(|byte| *byte = input.u8());
        let len = match input.u8() {
            len @ 0..=0x1f => usize::from(len),
            len => usize::from(len) * 4 % 0x3e0,
        };
        let frame = pattern(len, self.frames);
        let mut bytes = [&header[..], &frame].concat();
        if input.u8() == 0 {
            bytes.truncate(usize::from(input.u8() & 0xf));
        }
        let address = BUFFERS + (pair as u64 * u64::from(SLOTS) + u64::from(slot % SLOTS)) * SLOT;
        ram::store(self.ram(), address, &bytes);
        self.put(queue, slot, address, bytes.len(), false, input);
        self.pairs[pair].offered[1] = slot.wrapping_add(1);
        self.frames += 1;
        if bytes.len() < HEADER {
            self.serve_twice();
            // The worker may be held up before it.
            self.is_hostile = true;
        } else {
            let frame = (FrameHeader::from_bytes(header), bytes[HEADER..].to_vec());
            self.pairs[pair].of_guest.push_back(frame);
        }
    }

    /// Makes `len` bytes at `address` available, cut into up to four buffers. Slots are apart by as many descriptors.
    fn put(&self, queue: usize, slot: u16, address: u64, len: usize, writable: bool, input: &mut Input<'_>) {
        let len = u64::try_from(len).expect("small");
        let mut edges = [input.u16(), input.u16(), input.u16()].map(|edge| match edge & 0xf00 {
            0 => u64::from(edge & 0xf).min(len),
            _ => u64::from(edge) % (len + 1),
        });
        edges.sort_unstable();
        let edges = [0, edges[0], edges[1], edges[2], len];
        let buffers = edges
            .windows(2)
            .map(|edge| (address + edge[0], u32::try_from(edge[1] - edge[0]).expect("small"), writable));
        self.rings[queue].chain(self.ram(), slot.wrapping_mul(4) % QUEUE_SIZE, &buffers.collect::<Vec<_>>());
    }

    /// Gives buffers for frames.
    fn give(&mut self, input: &mut Input<'_>) {
        let pair = self.pair(input);
        for _ in 0..input.u8() & 0xf {
            let slot = self.pairs[pair].offered[0];
            if slot.wrapping_sub(self.pairs[pair].taken) >= ROOMS {
                return;
            }
            self.put(2 * pair, slot, room(pair, slot), room_len(slot), true, input);
            self.pairs[pair].offered[0] = slot.wrapping_add(1);
        }
    }

    /// A frame for the guest.
    fn bring(&mut self, input: &mut Input<'_>) {
        let pair = usize::from(input.u8()) % PAIRS;
        if self.pairs[pair].to_guest.len() > 16 {
            return;
        }
        let mut header = [0; HEADER];
        header[..10].iter_mut().for_each(|byte| *byte = input.u8());
        header[0] &= 3;
        let header = FrameHeader::from_bytes(header);
        let len = match input.u8() {
            len @ 0..=0x3f => usize::from(len),
            len => usize::from(len) * 16 % 1500,
        };
        let frame = pattern(len, self.frames);
        self.frames += 1;
        self.pairs[pair].to_guest.push_back((header, frame.clone()));
        self.networks[pair].offer(header, &frame);
    }

    fn change_network(&mut self, input: &mut Input<'_>) {
        let network = &self.networks[usize::from(input.u8()) % PAIRS];
        let (what, value) = (input.u8(), usize::from(input.u8()));
        network.change(|script| match what & 3 {
            0 => script.is_up = value & 1 == 0,
            1 => script.room = value & 7,
            2 => script.is_vague = value & 1 == 0,
            _ => script.room = usize::MAX,
        });
    }

    /// Gives a command, and hears the answer.
    fn command(&mut self, input: &mut Input<'_>) {
        let (class, number) = (input.u8() % 7, input.u8() % 3);
        let count = usize::from(input.u8() & 0x3f);
        let mut data = input.bytes(count).to_vec();
        if input.u8() & 3 == 0 {
            data = match class {
                0 => vec![1],
                1 if number == 0 => [&[1, 0, 0, 0][..], &[2; 6], &[0; 4]].concat(),
                1 => vec![2; 6],
                5 => (u64::from(input.u16()) & OFFLOADS).to_le_bytes().to_vec(),
                _ => vec![input.u8() & 3, 0],
            };
        }
        let mut bytes = [&[class, number][..], &data].concat();
        if input.u8() == 0 {
            bytes.truncate(1);
        }
        let offloads = <[u8; 8]>::try_from(&data[..]).ok().map(u64::from_le_bytes);
        self.refused_checksums |= class == 5 && offloads.is_some_and(|offloads| offloads & GUEST_CSUM == 0);
        let answer = self.ask(&bytes, input);
        if self.is_hostile {
            return;
        }
        let tables = || {
            let first = data.get(..4).map(|bytes| 4 + 6 * u64::from(u32_at(bytes, 0)))?;
            let second = data.get(usize::try_from(first).ok()?..)?.get(..4)?;
            Some(first + 4 + 6 * u64::from(u32_at(second, 0)))
        };
        let count = if data.len() == 2 { usize::from(u16_at(&data, 0)) } else { 0 };
        let is_well = bytes.len() > 1
            && match (class, number) {
                (0, 0 | 1) => data.len() == 1,
                (1, 0) => tables() == Some(data.len() as u64),
                (1, 1) => data.len() == 6 && data[0] & 1 == 0,
                (4, 0) => (1..=PAIRS).contains(&count),
                (5, 0) => offloads.is_some_and(|offloads| offloads & !OFFLOADS == 0),
                _ => false,
            };
        assert_eq!(answer, u8::from(!is_well), "class {class}, command {number}, {data:?}");
        if is_well && class == 4 {
            self.used = count;
            let running = self.networks.iter().map(|network| network.script().accepted.is_some());
            assert!(running.eq((0..PAIRS).map(|pair| pair < count)), "the pairs that are used run");
        }
        if let (true, 5, Some(offloads)) = (is_well, class, offloads) {
            let sums =
                self.networks[0].script().accepted.map(|accepted| accepted.contains(Offloads::CHECKSUM));
            assert_eq!(sums, Some(offloads & GUEST_CSUM != 0), "the first pair always runs");
        }
    }

    fn ask(&mut self, bytes: &[u8], input: &mut Input<'_>) -> u8 {
        ram::store(self.ram(), COMMAND, bytes);
        ram::store(self.ram(), ANSWER, &[0xff]);
        let cut = u64::from(input.u8()) % (bytes.len() as u64 + 1);
        let len = u32::try_from(bytes.len()).expect("small");
        let first = u32::try_from(cut).expect("small");
        let buffers = [(COMMAND, first, false), (COMMAND + cut, len - first, false), (ANSWER, 1, true)];
        self.rings[CONTROL].chain(self.ram(), self.commands.wrapping_mul(4) % QUEUE_SIZE, &buffers);
        self.commands = self.commands.wrapping_add(1);
        self.serve_twice();
        if !self.is_hostile && !self.is_broken() {
            assert_eq!(self.used(CONTROL), self.commands, "the command is answered");
        }
        ram::read(self.ram(), ANSWER, 1)[0]
    }

    /// A command for several workers is done when each has served after the other.
    fn serve_twice(&mut self) {
        self.serve();
        self.serve();
    }

    /// Lets the device work, and looks at what it did.
    fn serve(&mut self) {
        virtio::ring(&self.machine);
        self.machine.serve();
        for pair in 0..PAIRS {
            let sent = std::mem::take(&mut self.networks[pair].script().sent);
            if self.is_hostile {
                continue;
            }
            sent.iter().for_each(|frame| find(&mut self.pairs[pair].of_guest, frame, false));
            while self.pairs[pair].taken != self.used(2 * pair) {
                let frame = self.take(pair);
                find(&mut self.pairs[pair].to_guest, &frame, self.refused_checksums);
            }
        }
    }

    /// The next frame that the driver of `pair` gets.
    fn take(&mut self, pair: usize) -> Frame {
        let mut bytes = self.take_chain(pair);
        let header = *bytes.first_chunk::<HEADER>().expect("a header");
        let count = u16_at(&header, 10);
        assert!(count == 1 || count > 1 && self.is_mergeable, "{count} buffers");
        for _ in 1..count {
            assert_ne!(self.pairs[pair].taken, self.used(2 * pair), "all of a frame at once");
            bytes.extend(self.take_chain(pair));
        }
        (FrameHeader::from_bytes(header), bytes.split_off(HEADER))
    }

    fn take_chain(&mut self, pair: usize) -> Vec<u8> {
        let slot = self.pairs[pair].taken;
        let element = self.rings[2 * pair].used + 4 + u64::from(slot % QUEUE_SIZE) * 8;
        let element = ram::read(self.ram(), element, 8);
        let head = u32::from(slot.wrapping_mul(4) % QUEUE_SIZE);
        assert_eq!(u32_at(&element, 0), head, "buffers in their order");
        let len = u32_at(&element, 4) as usize;
        assert!((1..=room_len(slot)).contains(&len), "{len} bytes of {}", room_len(slot));
        self.pairs[pair].taken = slot.wrapping_add(1);
        ram::read(self.ram(), room(pair, slot), len)
    }

    /// With room and buffers for all, every frame is sent, received, or lost and counted.
    fn finish(mut self) {
        if self.is_hostile || self.is_broken() {
            assert!(self.is_hostile, "the device needs no reset");
            self.machine.device.reset();
            return;
        }
        self.handle.set_link(true);
        let input = &mut Input::new(&[]);
        assert_eq!(self.ask(&[4, 0, 2, 0], input), 0, "the driver uses both pairs");
        self.used = PAIRS;
        self.networks.iter().for_each(|network| network.change(|script| script.room = usize::MAX));
        // Each turn of giving buffers brings at least a frame of those that wait, or there are none.
        for _ in 0..64 {
            for pair in 0..PAIRS {
                let zeros = [u8::try_from(pair).expect("few"), 0xf];
                self.give(&mut Input::new(&zeros));
            }
            self.serve_twice();
        }
        let counts = self.handle.counts();
        let all = counts.sent_frames + counts.received_frames + counts.dropped_frames;
        assert_eq!(all, self.frames, "{counts:?}");
        for pair in 0..PAIRS {
            assert_eq!(self.used(2 * pair + 1), self.pairs[pair].offered[1], "every chain comes back");
            assert!(self.networks[pair].script().incoming.is_empty(), "every frame is taken");
        }
        self.machine.device.reset();
        assert!(self.networks.iter().all(|network| network.script().accepted.is_none()), "backends rest");
    }
}

/// Where chain `slot` for frames of the guest's is.
fn room(pair: usize, slot: u16) -> u64 {
    FIRST_ROOM + (pair as u64 * u64::from(ROOMS) + u64::from(slot % ROOMS)) * ROOM
}

/// Some have room for little more than a header.
fn room_len(slot: u16) -> usize {
    if slot.is_multiple_of(5) { HEADER + 1 } else { 0x100 }
}
