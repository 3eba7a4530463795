//! A device set up as its driver does it, a few sound chains, and one thing broken.

use crate::{
    ARENAS, Attacker, Counter, RAM_END,
    chain::{self, Chain},
    machine::{self, HOLES, load, store},
    noise,
    queue::{Descriptor, INDIRECT, MOST, NEXT, Queue, WRITE},
    transport::{ACKNOWLEDGE, DRIVER, DRIVER_OK, Device, FEATURES_OK, MSIX, NEEDS_RESET, bar, configuration},
};

/// Where devices may be (docs/machine-hv-1.md).
const SLOTS: [u64; 10] = [1, 2, 3, 4, 5, 16, 17, 18, 30, 31];
const MOST_QUEUES: usize = 32;
/// Indirect tables of a core, in its arena.
const TABLES: u64 = 0x18_0000;

/// The faults, and a list of them.
macro_rules! faults {
    ($($fault:ident,)*) => {
        /// What is broken.
        #[derive(Clone, Copy, PartialEq)]
        enum Fault {
            $($fault,)*
        }

        const FAULTS: &[Fault] = &[$(Fault::$fault,)*];
    };
}

faults! {
    Nothing,
    // Of one chain.
    Loop,
    NextBeyondTable,
    HeadBeyondTable,
    BufferInHole,
    BufferBeyondRam,
    BufferAcrossTheEnd,
    HugeBuffer,
    EmptyBuffer,
    OtherDirection,
    MissingPart,
    LongHeader,
    RepeatedBuffers,
    // Of its indirect table.
    TableInHole,
    TableOfOddSize,
    TableInTable,
    TableWithNext,
    LoopInTable,
    LongTable,
    // Of the rings.
    IndexJump,
    IndexBack,
    RingsInHole,
    RingsMisaligned,
    RingsOverlap,
    OddSize,
    // Of the order of things.
    OddFeatures,
    NoFeaturesOk,
    QueuesAfterReady,
    NoQueues,
    OddNotify,
    NotifyBeforeReady,
    OddStatus,
    ResetUnderWay,
    // While the device works.
    Scribble,
    Reuse,
    ConfigNoise,
    Messages,
    MovedBar,
    NoDecode,
    WindowInConfiguration,
}

impl Fault {
    fn any(attacker: &mut Attacker) -> Self {
        let random = &mut attacker.random;
        if random.is_one_in(5) {
            return Self::Nothing;
        }
        FAULTS[random.below(FAULTS.len() as u64) as usize]
    }

    fn is_of_table(self) -> bool {
        use Fault::{LongTable, LoopInTable, TableInHole, TableInTable, TableOfOddSize, TableWithNext};
        [TableInHole, TableOfOddSize, TableInTable, TableWithNext, LoopInTable, LongTable].contains(&self)
    }
}

/// An address where there is no RAM; some look as if there were.
fn hole(attacker: &mut Attacker) -> u64 {
    let random = &mut attacker.random;
    match random.below(4) {
        0 => random.one_of(&HOLES) + random.below(0x1000),
        1 => RAM_END + random.below(1 << 20),
        2 => u64::MAX - random.below(0x2000),
        _ => random.next() | 1 << 63,
    }
}

pub fn attempt(attacker: &mut Attacker) {
    let slot = attacker.random.one_of(&SLOTS);
    let Some(device) = Device::find(slot, attacker.is_pci) else { return };
    let fault = Fault::any(attacker);
    set_up(attacker, &device, fault);
}

fn set_up(attacker: &mut Attacker, device: &Device, fault: Fault) {
    device.set_status(0);
    device.set_status(ACKNOWLEDGE);
    device.set_status(ACKNOWLEDGE | DRIVER);
    let offered = [device.features(0), device.features(1)];
    let is_plain = attacker.random.is_one_in(2);
    for (select, offered) in (0..).zip(offered) {
        let chosen = match fault {
            Fault::OddFeatures => attacker.random.next() as u32,
            _ if is_plain => offered,
            // VERSION_1 is bit 32.
            _ => offered & attacker.random.next() as u32 | (offered & select),
        };
        device.accept(select, chosen);
    }
    if fault == Fault::OddFeatures {
        device.accept(attacker.random.odd() as u32, attacker.random.next() as u32);
    }
    if fault != Fault::NoFeaturesOk {
        device.set_status(ACKNOWLEDGE | DRIVER | FEATURES_OK);
    }
    let count = device.queues().min(MOST_QUEUES as u64);
    if count == 0 {
        return;
    }
    let arena = attacker.arena();
    let mut queues = [Queue::new(0, 1, arena); MOST_QUEUES];
    for index in 0..count {
        let most = device.most(index).min(MOST);
        let size = if most == 0 { 1 } else { 1 << attacker.random.below(u64::from(most.ilog2()) + 1) };
        // Most chains have three parts or more.
        let queue = Queue::new(index, size.max(most.min(8)).max(1), arena);
        queues[index as usize] = queue;
        if fault == Fault::NoQueues || (fault == Fault::QueuesAfterReady && index != 0) {
            continue;
        }
        place(attacker, device, fault, &queue);
    }
    if fault == Fault::NotifyBeforeReady {
        (0..count).for_each(|queue| device.notify(queue));
    }
    let status = if fault == Fault::OddStatus { attacker.random.next() as u8 } else { 15 };
    device.set_status(status | DRIVER_OK);
    if device.status() & (DRIVER_OK | FEATURES_OK | NEEDS_RESET) == DRIVER_OK | FEATURES_OK {
        attacker.count(Counter::Ready, 0);
    }
    if fault == Fault::QueuesAfterReady {
        (1..count).for_each(|index| place(attacker, device, fault, &queues[index as usize]));
    }
    for _ in 0..1 + attacker.random.below(4) {
        let index = attacker.random.below(count);
        converse(attacker, device, fault, &mut queues[index as usize], count);
    }
    if device.status() & NEEDS_RESET != 0 {
        attacker.count(Counter::NeedsReset, 0);
    }
    // Not every device is left clean.
    if attacker.random.is_one_in(2) {
        device.set_status(0);
    }
}

/// Tells the device where a queue is, or something else.
fn place(attacker: &mut Attacker, device: &Device, fault: Fault, queue: &Queue) {
    let mut places = [queue.descriptors, queue.available, queue.used];
    let mut size = queue.size;
    let which = attacker.random.below(3) as usize;
    match fault {
        Fault::RingsInHole => places[which] = hole(attacker) & !0xf,
        Fault::RingsMisaligned => places[which] += 1 + attacker.random.below(15),
        Fault::RingsOverlap => places[which] = places[(which + 1) % 3],
        Fault::OddSize => size = attacker.random.odd() as u16,
        _ => {}
    }
    device.most(queue.index);
    device.set_queue(size, places);
    device.enable_queue();
}

/// Offers some chains, one of them broken, and tells the device.
fn converse(attacker: &mut Attacker, device: &Device, fault: Fault, queue: &mut Queue, queues: u64) {
    let before = queue.returned();
    let count = 1 + attacker.random.below(4);
    let broken = attacker.random.below(count);
    let mut used = 0;
    for number in 0..count {
        let mut chain = chain::valid(attacker, device, queue.index, queues);
        let fault = if number == broken { fault } else { Fault::Nothing };
        if used + chain.count as u16 > queue.size {
            break;
        }
        let is_indirect = fault.is_of_table() || attacker.random.is_one_in(4);
        used += if is_indirect { 1 } else { chain.count as u16 };
        break_chain(attacker, fault, &mut chain);
        let head = if is_indirect {
            indirect(attacker, fault, queue, &chain)
        } else {
            direct(attacker, fault, queue, &chain)
        };
        queue.offer(head);
    }
    ring(attacker, device, fault, queue);
    disturb(attacker, device, fault, queue);
    let returned = queue.wait(device).wrapping_sub(before).min(queue.size);
    for _ in 0..returned {
        attacker.count(Counter::Used, device.kind);
    }
}

fn break_chain(attacker: &mut Attacker, fault: Fault, chain: &mut Chain) {
    let index = attacker.random.below(chain.count.max(1) as u64) as usize;
    let hole = hole(attacker);
    let arena = attacker.arena();
    let random = &mut attacker.random;
    let (address, len, is_writable) = &mut chain.segments[index];
    match fault {
        Fault::BufferInHole => *address = random.one_of(&HOLES),
        Fault::BufferBeyondRam => *address = hole,
        Fault::BufferAcrossTheEnd => *address = RAM_END - 1 - random.below(u64::from((*len).max(1))),
        Fault::HugeBuffer if random.is_one_in(2) => *len = random.one_of(&[0xffff_ffff, 0x8000_0000]) as u32,
        // All that devices may write, the rings too.
        Fault::HugeBuffer => (*address, *len) = (ARENAS, (RAM_END - ARENAS) as u32),
        Fault::EmptyBuffer => *len = 0,
        Fault::OtherDirection => *is_writable = !*is_writable,
        Fault::MissingPart => chain.count = index,
        Fault::LongHeader => *len = len.wrapping_add(random.odd() as u32 & 0xfff),
        Fault::RepeatedBuffers => {
            let segment = (arena + 0x4_0000, 1 << 20, *is_writable);
            chain.segments = [segment; 8];
            chain.count = 8;
        }
        _ => {}
    }
}

fn descriptor(chain: &Chain, index: usize, next: u16) -> Descriptor {
    let (address, len, is_writable) = chain.segments[index];
    let flags = if is_writable { WRITE } else { 0 } | if index + 1 < chain.count { NEXT } else { 0 };
    Descriptor { address, len, flags, next }
}

fn direct(attacker: &mut Attacker, fault: Fault, queue: &mut Queue, chain: &Chain) -> u16 {
    let count = chain.count as u16;
    let head = queue.take(count.max(1));
    for index in 0..count {
        let next = (head + index + 1) % queue.size;
        let mut descriptor = descriptor(chain, index.into(), next);
        if index + 1 == count || attacker.random.is_one_in(2) {
            match fault {
                Fault::Loop => (descriptor.flags, descriptor.next) = (descriptor.flags | NEXT, head),
                Fault::NextBeyondTable => {
                    descriptor.flags |= NEXT;
                    descriptor.next = queue.size.wrapping_add(attacker.random.odd() as u16);
                }
                _ => {}
            }
        }
        descriptor.store(queue.descriptor(head + index));
    }
    if fault == Fault::HeadBeyondTable {
        return queue.size.wrapping_add(attacker.random.odd() as u16);
    }
    head
}

fn indirect(attacker: &mut Attacker, fault: Fault, queue: &mut Queue, chain: &Chain) -> u16 {
    let head = queue.take(1);
    let table = attacker.arena() + TABLES + u64::from(head) * 0x400;
    let count = chain.count as u16;
    for index in 0..count {
        let mut descriptor = descriptor(chain, index.into(), index + 1);
        match fault {
            Fault::LoopInTable if index + 1 == count => (descriptor.flags, descriptor.next) = (descriptor.flags | NEXT, 0),
            Fault::TableInTable => descriptor.flags |= INDIRECT,
            _ => {}
        }
        descriptor.store(table + u64::from(index) * 16);
    }
    let mut own = Descriptor { address: table, len: u32::from(count) * 16, flags: INDIRECT, next: 0 };
    match fault {
        Fault::TableInHole => own.address = hole(attacker),
        Fault::TableOfOddSize => own.len = attacker.random.odd() as u32,
        Fault::TableWithNext => own.flags |= NEXT,
        Fault::LongTable => {
            own.len = 0x400 * 16;
            let last = attacker.arena() + 0x4_0000;
            for index in 0..0x400_u16 {
                let flags = if index == 0x3ff { 0 } else { NEXT };
                let descriptor = Descriptor { address: last, len: 1, flags, next: index + 1 };
                descriptor.store(table + u64::from(index) * 16);
            }
        }
        _ => {}
    }
    own.store(queue.descriptor(head));
    head
}

/// The doorbell, and what may be wrong around it.
fn ring(attacker: &mut Attacker, device: &Device, fault: Fault, queue: &mut Queue) {
    match fault {
        Fault::IndexJump => {
            let jump = queue.size.wrapping_add(attacker.random.odd() as u16);
            store(queue.available + 2, queue.offered.wrapping_add(jump));
        }
        Fault::IndexBack => store(queue.available + 2, queue.offered.wrapping_sub(1 + attacker.random.below(8) as u16)),
        Fault::OddNotify => {
            for _ in 0..8 {
                // Within the page of doorbells.
                device.notify(attacker.random.odd() & if device.is_pci { 0x3ff } else { u64::MAX });
            }
        }
        _ => {}
    }
    device.notify(queue.index);
}

/// What goes on while the device works.
fn disturb(attacker: &mut Attacker, device: &Device, fault: Fault, queue: &Queue) {
    match fault {
        Fault::Scribble => scribble(attacker, queue),
        Fault::Reuse => {
            for _ in 0..64 {
                let number = attacker.random.below(queue.size.into()) as u16;
                let at = queue.descriptor(number);
                store(at + 8, (load::<u32>(at + 8) ^ attacker.random.next() as u32) & 0xffff);
                device.notify(queue.index);
            }
        }
        Fault::ResetUnderWay => {
            for _ in 0..attacker.random.below(4) {
                device.notify(queue.index);
            }
            device.set_status(0);
            device.notify(queue.index);
        }
        Fault::ConfigNoise => {
            for _ in 0..16 {
                let (offset, width) = (attacker.random.below(0x100), attacker.random.width());
                noise::access(attacker, device.config() + offset, width);
            }
        }
        Fault::Messages if device.is_pci => messages(attacker, device, queue),
        Fault::MovedBar if device.is_pci => {
            let target = attacker.random.one_of(&SLOTS);
            let base = match attacker.random.below(4) {
                0 => bar(target),
                1 => attacker.random.one_of(&HOLES),
                2 => attacker.random.odd(),
                _ => bar(device.slot) + 0x8000,
            };
            device.place(base);
            device.notify(queue.index);
            device.place(device.base);
        }
        Fault::NoDecode if device.is_pci => {
            store(configuration(device.slot) + 4, attacker.random.next() as u16 & !2);
            device.notify(queue.index);
            store(configuration(device.slot) + 4, 6_u16);
        }
        Fault::WindowInConfiguration if device.is_pci => window(attacker, device),
        _ => {}
    }
}

/// Changes descriptors and rings under the device's eyes. Addresses stay where a device may write.
fn scribble(attacker: &mut Attacker, queue: &Queue) {
    let arena = attacker.arena();
    for _ in 0..200 {
        let random = &mut attacker.random;
        let at = queue.descriptor(random.below(queue.size.into()) as u16);
        match random.below(8) {
            0 => store(at, arena + 0x4_0000 + random.below(0x10_0000)),
            1 => store(at, random.next() | 1 << 63),
            2 => store(at + 8, random.odd() as u32 & 0xf_ffff),
            3 => store(at + 12, random.below(8) as u16),
            4 => store(at + 14, random.odd() as u16),
            5 => store(queue.available + 4 + random.below(queue.size.into()) * 2, random.odd() as u16),
            6 => store(queue.available + 2, random.next() as u16),
            _ => store(queue.used + random.below(64) * 4, random.next() as u32),
        }
    }
}

/// Vectors with any addresses and data. What a message asks of a core is what cores bear.
fn messages(attacker: &mut Attacker, device: &Device, queue: &Queue) {
    let random = &mut attacker.random;
    for vector in 0..4 {
        let entry = device.base + MSIX + vector * 16;
        let (address, data) = machine::message(random);
        store(entry, address as u32);
        store(entry + 4, (address >> 32) as u32);
        store(entry + 8, data);
        store(entry + 12, random.below(2) as u32);
    }
    store(device.base + 0x10, random.below(8) as u16);
    device.most(queue.index);
    store(device.base + 0x1a, random.odd() as u16);
    // The capability is found as drivers find it.
    let function = configuration(device.slot);
    let mut at = u64::from(load::<u8>(function + 0x34));
    for _ in 0..16 {
        if at == 0 {
            break;
        }
        if load::<u8>(function + at) == 0x11 {
            store(function + at + 2, random.one_of(&[0x8000, 0x8000, 0xc000, 0]) as u16);
            break;
        }
        at = load::<u8>(function + at + 1).into();
    }
    device.notify(queue.index);
    for _ in 0..8 {
        let random = &mut attacker.random;
        let entry = device.base + MSIX + random.below(16) * 16;
        store(entry + 12, random.below(2) as u32);
        device.notify(queue.index);
    }
    store(device.base + 0x5000, u64::MAX);
}

/// The window into the BAR that configuration space has (4.1.4.9).
fn window(attacker: &mut Attacker, device: &Device) {
    let function = configuration(device.slot);
    for at in (0x40..0x100).step_by(4) {
        // A vendor's capability of type 5.
        if load::<u8>(function + at) != 9 || load::<u8>(function + at + 3) != 5 {
            continue;
        }
        for _ in 0..16 {
            let random = &mut attacker.random;
            store(function + at + 4, if random.is_one_in(4) { random.next() as u8 } else { 0 });
            let offset = if random.is_one_in(4) { random.odd() } else { random.below(0x3100) };
            store(function + at + 8, offset as u32);
            store(function + at + 12, random.one_of(&[1, 2, 4, 4, 3, 0, 0xffff_ffff]) as u32);
            let value = noise::harmless(random.next() as u32 as u64);
            if random.is_one_in(2) {
                store(function + at + 16, value as u32);
            } else {
                load::<u32>(function + at + 16);
            }
        }
    }
}
