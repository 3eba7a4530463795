//! The control messages of a console with several ports.

use std::sync::{Arc, Mutex};

use hv_core::{
    chardev::{self, TerminalSize},
    memory::GuestRam,
    virtio::{
        VirtioDevice,
        console::{Console, ConsoleHandle, HostPort},
        negotiation::TRANSPORT_FEATURES,
    },
};

use crate::{
    Input, ram,
    rings::{BUFFERS, Rings},
    virtio::{self, Machine},
    virtio_mmio::{Window, connect},
    virtio_transport::Transport,
};

const PORTS: u32 = 3;
const QUEUES: u16 = 4;
const QUEUE_SIZE: u16 = 64;
/// Virtqueues: messages of the device, messages of the driver.
const ANSWERS: usize = 2;
const MESSAGES: usize = 3;
const ROOM: u32 = 64;

const DEVICE_READY: u16 = 0;
const PORT_READY: u16 = 3;
const PORT_OPEN: u16 = 6;
/// What a device may say: add, console, resize, open, name.
const ANSWER_EVENTS: [u16; 5] = [1, 4, 5, 6, 7];

struct Driver {
    machine: Machine,
    handle: ConsoleHandle,
    rings: Vec<Rings>,
    /// How many answers were taken.
    answers: u16,
    /// How many buffers were offered to the device, and messages.
    offered: [u16; 2],
    /// The most answers that all messages so far can have.
    most_answers: u32,
    /// What the driver said of each port.
    open: Vec<bool>,
}

/// Messages of any length and content, buffers for the answers or none, terminals of any size.
///
/// Answers are whole, about ports that are there, and no more than were asked for; with room for its answers the
/// device hears every message and knows which ports the driver opened.
///
/// # Panics
/// The device breaks one of these.
pub fn console_control(data: &[u8]) {
    let mut input = Input::new(data);
    let mut driver = Driver::new();
    while !input.is_empty() {
        match input.u8() % 8 {
            0..=3 => driver.say(&mut input),
            4 => driver.offer_buffers(usize::from(input.u8() & 0x1f), input.u8()),
            5 => {
                let size = TerminalSize { columns: input.u16(), rows: input.u16() };
                driver.handle.resize(size);
                driver.most_answers += 1;
            }
            _ => driver.serve(),
        }
    }
    // Now there is room for all that it may want to say.
    for _ in 0..16 {
        driver.offer_buffers(usize::from(QUEUE_SIZE), 0);
        driver.serve();
    }
    for (port, open) in driver.open.iter().enumerate() {
        assert_eq!(driver.handle.guest_listens(port), *open, "port {port}");
    }
}

impl Driver {
    fn new() -> Self {
        let port = |name: &str| HostPort {
            name: name.into(),
            sink: Box::new(Arc::new(Mutex::new(Vec::new()))),
            input: chardev::Input::new(),
        };
        let (device, handle) =
            Console::new("console0", port(""), vec![port("org.hv.one"), port("org.hv.two")]);
        let features = device.features() | TRANSPORT_FEATURES & !(1 << 29);
        let machine = Machine::of(ram::two_pieces(), Box::new(device), connect);
        let rings: Vec<_> = (0..QUEUES).map(|queue| Rings::orderly(queue, QUEUE_SIZE)).collect();
        for (address, bytes) in Window.start(features, &rings) {
            machine.bus.write(address, &bytes);
        }
        let open = vec![false; PORTS as usize];
        Self { machine, handle, rings, answers: 0, offered: [0; 2], most_answers: 0, open }
    }

    fn ram(&self) -> &GuestRam {
        &self.machine.ram
    }

    /// Says something, if there is room in the queue.
    fn say(&mut self, input: &mut Input<'_>) {
        if self.offered[1].wrapping_sub(self.used(MESSAGES)) >= QUEUE_SIZE {
            return;
        }
        let event = input.choose(&[DEVICE_READY, PORT_READY, PORT_OPEN, 1, 4, 5, u16::MAX]);
        let port = match input.u8() {
            0 => input.u32(),
            port => u32::from(port) % (PORTS + 1),
        };
        let value = input.choose(&[0_u16, 1, 1, 1, 2]);
        let message =
            [&port.to_le_bytes()[..], &event.to_le_bytes(), &value.to_le_bytes(), &[0xaa; 8]].concat();
        let len = input.choose(&[8_u32, 8, 8, 12, 7, 16]);
        let slot = self.offered[1] % QUEUE_SIZE;
        let address = BUFFERS + u64::from(slot) * 16;
        ram::store(self.ram(), address, &message);
        self.rings[MESSAGES].chain(self.ram(), slot, &[(address, len, false)]);
        self.offered[1] = self.offered[1].wrapping_add(1);
        if len < 8 {
            return;
        }
        match (event, usize::try_from(port).expect("64 bits")) {
            (DEVICE_READY, _) if value == 1 => self.most_answers += PORTS,
            (PORT_READY, index) if value == 1 && index < self.open.len() => self.most_answers += 3,
            (PORT_OPEN, index) if index < self.open.len() => self.open[index] = value != 0,
            _ => {}
        }
    }

    /// Offers up to `count` buffers for answers.
    fn offer_buffers(&mut self, count: usize, odd: u8) {
        for _ in 0..count {
            if self.offered[0].wrapping_sub(self.answers) >= QUEUE_SIZE {
                return;
            }
            let slot = self.offered[0] % QUEUE_SIZE;
            let address = BUFFERS + 0x1000 + u64::from(slot) * u64::from(ROOM);
            let room = if odd == 0xff { 3 } else { ROOM };
            self.rings[ANSWERS].chain(self.ram(), slot, &[(address, room, true)]);
            self.offered[0] = self.offered[0].wrapping_add(1);
        }
    }

    fn used(&self, queue: usize) -> u16 {
        let bytes = ram::read(self.ram(), self.rings[queue].used + 2, 2);
        u16::from_le_bytes([bytes[0], bytes[1]])
    }

    /// Lets the device work, and looks at its answers.
    fn serve(&mut self) {
        virtio::ring(&self.machine);
        self.machine.serve();
        while self.answers != self.used(ANSWERS) {
            let element = self.rings[ANSWERS].used + 4 + u64::from(self.answers % QUEUE_SIZE) * 8;
            let element = ram::read(self.ram(), element, 8);
            let (slot, len) = (u64::from(element[0]), usize::from(element[4]));
            assert_eq!(slot, u64::from(self.answers % QUEUE_SIZE), "answers in the order of buffers");
            self.answers = self.answers.wrapping_add(1);
            self.most_answers = self.most_answers.checked_sub(1).expect("an answer that nobody asked for");
            check(&ram::read(self.ram(), BUFFERS + 0x1000 + slot * u64::from(ROOM), len));
        }
    }
}

/// One answer; it may be cut where the driver's buffer was too small.
fn check(answer: &[u8]) {
    assert!(!answer.is_empty());
    let Some((header, payload)) = answer.split_first_chunk::<8>() else { return };
    let [port @ .., e0, e1, _, _] = *header;
    let event = u16::from_le_bytes([e0, e1]);
    assert!(u32::from_le_bytes(port) < PORTS && ANSWER_EVENTS.contains(&event), "{header:?}");
    let payload_fits = match event {
        5 => payload.len() == 4,
        7 => payload.starts_with(b"org.hv."),
        _ => payload.is_empty(),
    };
    assert!(payload_fits, "event {event} with {payload:?}");
}
