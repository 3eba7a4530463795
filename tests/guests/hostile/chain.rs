//! What drivers of each type of device say in a chain (VIRTIO 1.2, 5).

use crate::{
    Attacker, SPARE, SPARE_SIZE, fill, load_word,
    machine::store,
    put,
    transport::Device,
};

const MOST: usize = 8;

/// Buffers, those that the device reads first.
#[derive(Clone, Copy)]
pub struct Chain {
    pub segments: [(u64, u32, bool); MOST],
    pub count: usize,
}

impl Chain {
    fn new() -> Self {
        Self { segments: [(0, 0, false); MOST], count: 0 }
    }

    fn readable(mut self, address: u64, len: u64) -> Self {
        self.segments[self.count] = (address, len as u32, false);
        self.count += 1;
        self
    }

    fn writable(mut self, address: u64, len: u64) -> Self {
        self.segments[self.count] = (address, len as u32, true);
        self.count += 1;
        self
    }
}

/// Room for buffers of a core, `number` of 32 pieces.
fn room(attacker: &Attacker, number: u64) -> u64 {
    attacker.arena() + 0x4_0000 + (number % 32) * 0x8000
}

/// A chain that `device` understands, for its queue `queue` of `queues`.
pub fn valid(attacker: &mut Attacker, device: &Device, queue: u64, queues: u64) -> Chain {
    let number = attacker.random.below(32);
    let buffer = room(attacker, number);
    let random = &mut attacker.random;
    match device.kind {
        1 if queue + 1 == queues && queue % 2 == 0 && queue != 0 => net_command(attacker, buffer),
        1 if queue % 2 == 0 => Chain::new().writable(buffer, random.one_of(&[12, 64, 1526, 2048, 0x8000])),
        1 => net_frame(attacker, buffer),
        2 => block(attacker, device, buffer),
        3 if queue % 2 == 0 => Chain::new().writable(buffer, 1 + random.below(4096)),
        3 => {
            let len = 1 + random.below(256);
            fill(buffer, len, |_| b'a' + random.below(26) as u8);
            Chain::new().readable(buffer, len)
        }
        4 => Chain::new().writable(buffer, 1 + random.below(0x8000)),
        5 => balloon(attacker, buffer, queue, queues),
        19 if queue == 1 => vsock(attacker, buffer),
        _ => Chain::new().writable(buffer, 44 + random.below(0x4000)),
    }
}

fn net_command(attacker: &mut Attacker, buffer: u64) -> Chain {
    let random = &mut attacker.random;
    put(buffer, &[random.below(6) as u8, random.below(4) as u8]);
    let len = random.below(64);
    fill(buffer + 16, len, |_| random.odd() as u8);
    Chain::new().readable(buffer, 2).readable(buffer + 16, len).writable(buffer + 0x100, 1)
}

/// The user network's addresses: the guest, its gateway and name server.
const GUEST: [u8; 4] = [10, 0, 2, 15];
const OTHERS: [[u8; 4]; 5] = [[10, 0, 2, 2], [10, 0, 2, 3], [255, 255, 255, 255], [127, 0, 0, 1], [224, 0, 0, 251]];

fn net_frame(attacker: &mut Attacker, buffer: u64) -> Chain {
    let random = &mut attacker.random;
    let frame = buffer + 12;
    let len = random.one_of(&[0, 14, 42, 60, 342, 600, 1514, 9014, 0x7f00]);
    fill(buffer, 12 + len.clamp(64, 2048), |_| 0);
    if random.is_one_in(3) {
        // Offloads: flags, kind, header, segment, checksum.
        put(buffer, &[random.below(4) as u8, random.one_of(&[0, 1, 3, 4, 5, 0x81]) as u8]);
        put(buffer + 2, &[random.below(128) as u16, random.odd() as u16, random.below(128) as u16, random.below(64) as u16]);
    }
    fill(frame, 6, |_| 0xff);
    put(frame + 6, &[0x52, 0x54, 0, 0x12, 0x34, 0x56_u8]);
    let kind = random.below(5);
    let other = OTHERS[random.below(OTHERS.len() as u64) as usize];
    match kind {
        0 => {
            put(frame + 12, &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1 + random.below(2) as u8]);
            put(frame + 28, &GUEST);
            put(frame + 38, &other);
        }
        1 | 2 => {
            let payload = len.saturating_sub(14);
            let protocol = random.one_of(&[1, 6, 17, 17, 6, 2]) as u8;
            let odd = if random.is_one_in(4) { random.odd() } else { payload } as u16;
            put(frame + 12, &[8, 0, 0x45, 0_u8]);
            put(frame + 16, &odd.to_be_bytes());
            put(frame + 18, &[random.below(4) as u8, 0, if random.is_one_in(4) { random.next() as u8 } else { 0 }, 0]);
            put(frame + 22, &[64, protocol, 0, 0]);
            put(frame + 26, &GUEST);
            put(frame + 30, &other);
            let sum: u32 = (0..10).map(|word| u32::from(load_word(frame + 14 + word * 2, 2) as u16)).sum();
            let sum = (sum & 0xffff) + (sum >> 16);
            put(frame + 24, &[!(((sum & 0xffff) + (sum >> 16)) as u16)]);
            fill(frame + 34, 30, |_| random.odd() as u8);
            let port = random.one_of(&[53, 67, 7, 1, 65535]) as u16;
            put(frame + 36, &port.to_be_bytes());
            if protocol == 6 {
                // Offset and flags, a few of them sound.
                put(frame + 46, &[0x50, random.one_of(&[2, 0x10, 0x18, 4, 1, 0x12, 0xff]) as u8]);
            } else {
                put(frame + 38, &(payload.saturating_sub(20) as u16).to_be_bytes());
            }
        }
        3 => {
            put(frame + 12, &[0x86, 0xdd, 0x60_u8]);
            fill(frame + 15, 49, |_| random.odd() as u8);
        }
        _ => fill(frame, 64, |_| random.next() as u8),
    }
    if random.is_one_in(2) {
        return Chain::new().readable(buffer, 12 + len);
    }
    Chain::new().readable(buffer, 12).readable(frame, len.min(14)).readable(frame + 14, len.saturating_sub(14))
}

fn block(attacker: &mut Attacker, device: &Device, buffer: u64) -> Chain {
    let capacity = load_word(device.config(), 4);
    let random = &mut attacker.random;
    let kind = random.one_of(&[0, 0, 1, 1, 4, 8, 11, 13, 14, 99]);
    let sectors = random.one_of(&[0, 1, 2, 8, 64]);
    let sector = match random.below(8) {
        0 => random.odd(),
        1 => capacity.wrapping_sub(random.below(4)),
        _ => random.below(capacity.max(1)),
    };
    put(buffer, &[kind as u32, random.below(2) as u32]);
    store(buffer + 8, sector);
    let (data, status) = (buffer + 0x200, buffer + 0x100);
    let chain = Chain::new().readable(buffer, 16);
    match kind {
        1 => {
            fill(data, 64, |_| random.next() as u8);
            chain.readable(data, sectors * 512).writable(status, 1)
        }
        4 => chain.writable(status, 1),
        8 => chain.writable(data, 20).writable(status, 1),
        11 | 13 | 14 => {
            let count = 1 + random.below(4);
            for segment in 0..count {
                store(data + segment * 16, if random.is_one_in(4) { random.odd() } else { sector });
                put(data + segment * 16 + 8, &[random.odd() as u32 & 0xff, random.below(2) as u32]);
            }
            chain.readable(data, count * 16).writable(status, 1)
        }
        _ => chain.writable(data, sectors * 512).writable(status, 1),
    }
}

fn balloon(attacker: &mut Attacker, buffer: u64, queue: u64, queues: u64) -> Chain {
    let random = &mut attacker.random;
    if queue >= 2 && queue + 1 == queues {
        let page = SPARE + random.below(SPARE_SIZE / 0x1000 - 16) * 0x1000;
        return Chain::new().writable(page, 0x1000 * (1 + random.below(16)));
    }
    let count = 1 + random.below(32);
    if queue == 2 {
        for index in 0..count {
            put(buffer + index * 10, &[random.below(20) as u16]);
            fill(buffer + index * 10 + 2, 8, |_| random.odd() as u8);
        }
        return Chain::new().readable(buffer, count * 10);
    }
    for index in 0..count {
        let page = (SPARE + random.below(SPARE_SIZE)) >> 12;
        let odd = 0x8000_0000_u64 | random.odd();
        put(buffer + index * 4, &[if random.is_one_in(8) { odd } else { page } as u32]);
    }
    Chain::new().readable(buffer, count * 4)
}

/// The agent's hello, in its frame; noise follows.
const HELLO: &[u8] = b"\x07\0\0\0\x00\x02\x041.2.";

fn vsock(attacker: &mut Attacker, buffer: u64) -> Chain {
    let is_agent = attacker.parameters.is_agent();
    let random = &mut attacker.random;
    let len = random.one_of(&[0, 0, 1, 16, 512, 4096]);
    let operation = random.one_of(&[1, 1, 1, 2, 3, 4, 5, 5, 5, 5, 6, 7, 0, 9]);
    let port = if is_agent && !random.is_one_in(4) { 1024 } else { random.one_of(&[1, 7, 1025, 0xffff_ffff]) };
    put(buffer, &[3_u64, if random.is_one_in(16) { random.odd() } else { 2 }]);
    put(buffer + 16, &[random.below(3) as u32, port as u32]);
    put(buffer + 24, &[if random.is_one_in(16) { random.odd() } else { len } as u32]);
    put(buffer + 28, &[if random.is_one_in(16) { 2 } else { 1_u16 }, operation as u16]);
    let flags = if random.is_one_in(4) { random.odd() } else { 0 };
    let credit = random.one_of(&[0, 1, 4096, 1 << 18, 0xffff_ffff]);
    put(buffer + 32, &[flags as u32, credit as u32, if random.is_one_in(4) { random.odd() } else { 0 } as u32]);
    fill(buffer + 44, len, |index| {
        if index < HELLO.len() as u64 { HELLO[index as usize] } else { random.odd() as u8 }
    });
    if random.is_one_in(2) {
        return Chain::new().readable(buffer, 44 + len);
    }
    Chain::new().readable(buffer, 44).readable(buffer + 44, len)
}
