//! The packets of a guest's socket driver.

use std::{
    collections::HashMap,
    io::{ErrorKind, Read, Write},
    net::Shutdown,
    os::unix::net::UnixStream,
    sync::{Arc, Mutex},
};

use hv_core::{
    memory::GuestRam,
    virtio::{
        VirtioDevice,
        negotiation::TRANSPORT_FEATURES,
        vsock::{Vsock, VsockHandle},
    },
};

use crate::{
    Input, ram,
    rings::{BUFFERS, Rings},
    virtio::{self, Machine},
    virtio_mmio::{Window, connect},
    virtio_transport::Transport,
};

const GUEST: u64 = 3;
const HOST: u64 = 2;
const STREAM: u16 = 1;
const HEADER: usize = 44;

const REQUEST: u16 = 1;
const RESPONSE: u16 = 2;
const RESET: u16 = 3;
const SHUTDOWN: u16 = 4;
const DATA: u16 = 5;

/// Ports of the host that listen.
const LISTENERS: [u32; 2] = [1024, 1025];

/// Virtqueues: packets to the guest, and of it.
const RECEIVE: usize = 0;
const TRANSMIT: usize = 1;
const QUEUE_SIZE: u16 = 64;

/// Where packets to the guest go: so many buffers, each with so much room.
const ROOMS: u16 = 16;
const ROOM: u64 = 0x200;
const FIRST_ROOM: u64 = BUFFERS + 0x1000;

/// A connection as the guest sees it.
#[derive(Default)]
struct Seen {
    /// Both sides agreed.
    open: bool,
    /// The guest asked.
    asked_by_guest: bool,
    /// What the guest said last of its credit.
    buf_alloc: u32,
    fwd_cnt: u32,
    /// Bytes that the device sent, and the guest.
    received: u32,
    sent: u32,
    /// The device sends no more.
    ended: bool,
}

/// A host end.
struct End {
    stream: UnixStream,
    written: u32,
    read: u32,
}

type Accepted = Arc<Mutex<Vec<UnixStream>>>;

struct Guest {
    machine: Machine,
    handle: VsockHandle,
    rings: Vec<Rings>,
    accepted: Accepted,
    ends: Vec<End>,
    /// By port of the guest and of the host.
    seen: HashMap<(u32, u32), Seen>,
    /// How many chains were offered in each queue, and packets looked at.
    offered: [u16; 2],
    taken: u16,
    /// How many connections the host asked for, of which the guest did not hear.
    asked: usize,
}

/// Packets of any content in chains of any cut, buffers for the device's packets or none, host ends that write, read,
/// shut down and close.
///
/// Packets of the device are whole; it asks for no connection that nobody wants, sends no payload but on connections,
/// never beyond the guest's credit, nor after it said that it sends no more; every byte arrives in its place, both
/// ways; with room for its packets the device hears every one of the guest's; after a reset host ends read the end.
///
/// # Panics
/// The device breaks one of these.
pub fn vsock(data: &[u8]) {
    let mut input = Input::new(data);
    let mut guest = Guest::new();
    while !input.is_empty() {
        match input.u8() % 16 {
            0..=6 => guest.send(&mut input),
            7 | 8 => guest.offer(u16::from(input.u8() & 0xf)),
            9 => guest.connect(&mut input),
            10..=13 => guest.use_end(&mut input),
            14 => guest.serve(),
            _ => {
                guest.machine.device.pause();
                guest.machine.device.resume();
            }
        }
    }
    guest.hear_all();
    assert_eq!(guest.used(TRANSMIT), guest.offered[1], "every packet is heard");
    assert!(Window.status(&guest.machine.bus) & 0x40 == 0, "the device needs no reset");
    guest.machine.device.reset();
    for mut end in std::mem::take(&mut guest.ends) {
        end.read_on();
        assert_eq!(end.stream.read(&mut [0]).ok(), Some(0), "a reset ends connections");
    }
}

/// Byte `at` of a stream.
fn pattern(at: u32) -> u8 {
    (at ^ at >> 8).to_le_bytes()[0]
}

fn bytes(from: u32, len: u32) -> Vec<u8> {
    (0..len).map(|at| pattern(from.wrapping_add(at))).collect()
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("4 bytes"))
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

impl Guest {
    fn new() -> Self {
        let (device, handle) = Vsock::new("vsock0", 3);
        let accepted = Accepted::default();
        for port in LISTENERS {
            let accepted = Arc::clone(&accepted);
            handle.listen(port, Box::new(move |stream| accepted.lock().unwrap().push(stream)));
        }
        let features = device.features() | TRANSPORT_FEATURES & !(1 << 29);
        let machine = Machine::of(ram::two_pieces(), Box::new(device), connect);
        let sizes = [QUEUE_SIZE, QUEUE_SIZE, 16];
        let rings: Vec<_> = (0..).zip(sizes).map(|(queue, size)| Rings::orderly(queue, size)).collect();
        for (address, bytes) in Window.start(features, &rings) {
            machine.bus.write(address, &bytes);
        }
        Self {
            machine,
            handle,
            rings,
            accepted,
            ends: Vec::new(),
            seen: HashMap::new(),
            offered: [0; 2],
            taken: 0,
            asked: 0,
        }
    }

    fn ram(&self) -> &GuestRam {
        &self.machine.ram
    }

    fn used(&self, queue: usize) -> u16 {
        u16_at(&ram::read(self.ram(), self.rings[queue].used + 2, 2), 0)
    }

    /// Sends a packet, once the last one was heard.
    fn send(&mut self, input: &mut Input<'_>) {
        if self.offered[1] != self.used(TRANSMIT) {
            return;
        }
        let known: Vec<_> = self.seen.keys().copied().collect();
        let ports = match input.u8() {
            kind @ 0x80.. if !known.is_empty() => {
                let mut known = known;
                known.sort_unstable();
                known[usize::from(kind) % known.len()]
            }
            0 => (input.u32(), input.u32()),
            _ => (u32::from(input.u8() & 3), input.choose(&[1024, 1025, 1026, (1 << 30) + 1, (1 << 30) + 2])),
        };
        let odd = input.u8();
        let src_cid = if odd == 1 { input.number() } else { GUEST };
        let dst_cid = if odd == 2 { input.number() } else { HOST };
        let kind = if odd == 3 { input.u16() } else { STREAM };
        let op = match input.u8() {
            0xff => input.u16(),
            op => input_operation(op),
        };
        if op == REQUEST {
            // Else it is not known which packet an `RST` answers.
            self.hear_all();
        }
        let flags = u32::from(input.u8() & 3);
        let (sent, received, fwd_cnt) =
            self.seen.get(&ports).map_or((0, 0, 0), |seen| (seen.sent, seen.received, seen.fwd_cnt));
        let buf_alloc = match input.u8() {
            0xff => input.u32(),
            size => u32::from(size) * 8,
        };
        let fwd_cnt = match input.u8() {
            0xff => input.u32(),
            0..=0x1f => fwd_cnt,
            _ => received,
        };
        let payload = if op == DATA { u32::from(input.u16() % 0xc00) } else { 0 };
        let len = match input.u8() {
            0xff => input.u32(),
            0xfe => payload + 1,
            0xfd => payload / 2,
            _ => payload,
        };
        let mut packet = Vec::new();
        packet.extend(src_cid.to_le_bytes());
        packet.extend(dst_cid.to_le_bytes());
        packet.extend(ports.0.to_le_bytes());
        packet.extend(ports.1.to_le_bytes());
        packet.extend(len.to_le_bytes());
        packet.extend(kind.to_le_bytes());
        packet.extend(op.to_le_bytes());
        for field in [flags, buf_alloc, fwd_cnt] {
            packet.extend(field.to_le_bytes());
        }
        packet.extend(bytes(sent, payload));
        if input.u8() == 0 {
            packet.truncate(usize::from(input.u8() & 0x3f));
        }
        let is_whole = packet.len() >= HEADER;
        self.put(&packet, input.u8());
        if is_whole && src_cid == GUEST && dst_cid == HOST && kind == STREAM {
            let too_long = u64::from(len) > (packet.len() - HEADER) as u64;
            self.said(ports, op, if too_long { 0 } else { len }, buf_alloc, fwd_cnt);
        }
        self.serve();
    }

    /// Makes a packet available, cut into up to three buffers.
    fn put(&mut self, packet: &[u8], cut: u8) {
        ram::store(self.ram(), BUFFERS, packet);
        let whole = u32::try_from(packet.len()).expect("a small packet");
        let first = if cut < 0x80 { whole.min(44) } else { u32::from(cut & 0x7f).min(whole) };
        let second = (whole - first) / 2;
        let mut at = BUFFERS;
        let buffers = [first, second, whole - first - second].map(|len| {
            let buffer = (at, len, false);
            at += u64::from(len);
            buffer
        });
        let slot = self.offered[1].wrapping_mul(3) % QUEUE_SIZE;
        self.rings[TRANSMIT].chain(self.ram(), slot, &buffers);
        self.offered[1] = self.offered[1].wrapping_add(1);
    }

    /// Notes what the guest said, as far as the device may go on from it.
    fn said(&mut self, ports: (u32, u32), op: u16, len: u32, buf_alloc: u32, fwd_cnt: u32) {
        if op == REQUEST && !self.seen.contains_key(&ports) {
            self.seen.insert(ports, Seen { asked_by_guest: true, ..Seen::default() });
        }
        let Some(seen) = self.seen.get_mut(&ports) else { return };
        (seen.buf_alloc, seen.fwd_cnt) = (buf_alloc, fwd_cnt);
        match op {
            RESPONSE => seen.open |= !seen.asked_by_guest,
            DATA => seen.sent = seen.sent.wrapping_add(len),
            // The device answers none of its packets.
            RESET => drop(self.seen.remove(&ports)),
            _ => {}
        }
    }

    /// Offers up to `count` buffers for packets.
    fn offer(&mut self, count: u16) {
        for _ in 0..count {
            if self.offered[0].wrapping_sub(self.taken) >= ROOMS {
                return;
            }
            let slot = self.offered[0] % ROOMS;
            let len = if self.offered[0].is_multiple_of(5) { 45 } else { ROOM };
            let buffer = (FIRST_ROOM + u64::from(slot) * ROOM, u32::try_from(len).expect("small"), true);
            self.rings[RECEIVE].chain(self.ram(), slot, &[buffer]);
            self.offered[0] = self.offered[0].wrapping_add(1);
        }
    }

    /// Offers buffers until the device has nothing more to say.
    fn hear_all(&mut self) {
        let mut before = None;
        while before != Some(self.taken) {
            before = Some(self.taken);
            self.offer(ROOMS);
            self.serve();
        }
    }

    /// The host asks for a connection.
    fn connect(&mut self, input: &mut Input<'_>) {
        if self.ends.len() < 64
            && let Ok(stream) = self.handle.connect(u32::from(input.u8() & 3))
        {
            self.asked += 1;
            self.take_end(stream);
        }
    }

    fn take_end(&mut self, stream: UnixStream) {
        stream.set_nonblocking(true).expect("a stream that does not block");
        self.ends.push(End { stream, written: 0, read: 0 });
    }

    /// Does something at a host end.
    fn use_end(&mut self, input: &mut Input<'_>) {
        if self.ends.is_empty() {
            return;
        }
        let which = usize::from(input.u8()) % self.ends.len();
        let end = &mut self.ends[which];
        match input.u8() {
            0..=0x9f => end.write(u32::from(input.u16() & 0x1fff)),
            0xa0..=0xdf => end.read_on(),
            0xe0..=0xe7 => drop(end.stream.shutdown(Shutdown::Write)),
            0xe8..=0xef => {
                end.read_on();
                drop(end.stream.shutdown(Shutdown::Read));
            }
            _ => drop(self.ends.swap_remove(which)),
        }
    }

    /// Lets the device work, and looks at its packets.
    fn serve(&mut self) {
        virtio::ring(&self.machine);
        self.machine.serve();
        let accepted = std::mem::take(&mut *self.accepted.lock().unwrap());
        accepted.into_iter().for_each(|stream| self.take_end(stream));
        while self.taken != self.used(RECEIVE) {
            let element = self.rings[RECEIVE].used + 4 + u64::from(self.taken % QUEUE_SIZE) * 8;
            let element = ram::read(self.ram(), element, 8);
            let (slot, len) = (u64::from(element[0]), u32_at(&element, 4));
            assert_eq!(slot, u64::from(self.taken % ROOMS), "packets in the order of buffers");
            self.taken = self.taken.wrapping_add(1);
            let packet = ram::read(self.ram(), FIRST_ROOM + slot * ROOM, len as usize);
            self.hear(&packet);
        }
    }

    /// One packet of the device.
    fn hear(&mut self, packet: &[u8]) {
        assert!(packet.len() >= HEADER, "a whole header");
        let (header, payload) = packet.split_at(HEADER);
        let dst_cid = u64::from_le_bytes(header[8..16].try_into().expect("8 bytes"));
        assert_eq!((dst_cid, u32_at(header, 24) as usize), (GUEST, payload.len()));
        let ports = (u32_at(header, 20), u32_at(header, 16));
        let (kind, op, flags) = (u16_at(header, 28), u16_at(header, 30), u32_at(header, 32));
        assert!((1..=7).contains(&op) && (payload.is_empty() || op == DATA));
        if u64::from_le_bytes(header[..8].try_into().expect("8 bytes")) != HOST || kind != STREAM {
            assert_eq!(op, RESET, "nothing else is said in the name of others");
            return;
        }
        match op {
            REQUEST => {
                self.asked = self.asked.checked_sub(1).expect("a connection that nobody wants");
                let before = self.seen.insert(ports, Seen::default());
                assert!(before.is_none_or(|seen| !seen.open), "ports that are in use");
            }
            RESPONSE => {
                let seen = self.seen.get_mut(&ports).expect("a response to a request");
                assert!(seen.asked_by_guest && !seen.open);
                seen.open = true;
            }
            RESET => drop(self.seen.remove(&ports)),
            _ => {
                let seen = self.seen.get_mut(&ports).expect("a connection");
                assert!(seen.open, "operation {op} before both sides agree");
                assert_eq!(u32_at(header, 36), 256 << 10);
                if op == SHUTDOWN {
                    assert!((1..=3).contains(&flags));
                    seen.ended |= flags & 2 != 0;
                } else {
                    assert_eq!(flags, 0);
                }
                let len = u32::try_from(payload.len()).expect("a small packet");
                assert!(op != DATA || len > 0 && !seen.ended);
                assert_eq!(payload, bytes(seen.received, len), "bytes in their place");
                seen.received = seen.received.wrapping_add(len);
                let under_way = seen.received.wrapping_sub(seen.fwd_cnt);
                assert!(len == 0 || under_way <= seen.buf_alloc, "{under_way} bytes for {}", seen.buf_alloc);
            }
        }
    }
}

/// Mostly payload.
fn input_operation(byte: u8) -> u16 {
    if byte < 0x60 { DATA } else { u16::from(byte % 9) }
}

impl End {
    fn write(&mut self, len: u32) {
        if let Ok(count) = self.stream.write(&bytes(self.written, len)) {
            self.written = self.written.wrapping_add(u32::try_from(count).expect("few bytes"));
        }
    }

    /// Reads all that is there.
    fn read_on(&mut self) {
        let mut buffer = [0; 4096];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return,
                Ok(count) => {
                    let len = u32::try_from(count).expect("few bytes");
                    assert_eq!(buffer[..count], bytes(self.read, len), "bytes in their place");
                    self.read = self.read.wrapping_add(len);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                // The device dropped what this end had written.
                Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
                Err(error) => panic!("{error}"),
            }
        }
    }
}
