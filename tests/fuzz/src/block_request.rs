//! The parser of block requests, on chains of any shape.

use std::sync::Arc;

use hv_core::{
    memory::{GuestAddress, GuestRam, Segment},
    virtio::{
        Chain, QueueInterrupt, Virtqueue,
        block::request::{self, Action, DiskRange, Limits, Lists, MAX_DISCARD_RANGES, Request},
        queue::{InterruptSink, QueueLayout},
    },
};

use crate::{
    Input,
    ram::{self, Snapshot},
    rings::{BUFFERS, Rings},
};

struct Deaf;

impl InterruptSink for Deaf {
    fn queue_used(&self, _: u16) {}
    fn config_changed(&self) {}
}

const QUEUE_SIZE: u16 = 64;

/// A chain whose buffers hold a header and data cut into any pieces, parsed behind other requests of a batch.
///
/// Every request that the driver can be told about is answered; its status byte is the last writable one; its data are
/// buffers of the chain; what it asks for lies within the disk, in whole sectors; a read-only disk is never
/// changed; the lists of other requests, and RAM, stay as they were.
///
/// # Panics
/// The parser breaks one of these.
pub fn block_request(data: &[u8]) {
    let mut input = Input::new(data);
    let ram = ram::two_pieces();
    let limits = Limits {
        capacity: input.number() / 512 * 512,
        read_only: input.u8() & 7 == 0,
        discard: input.u8() & 7 != 0,
        write_zeroes: input.u8() & 7 != 0,
    };
    let Some(chain) = chain(&mut input, &ram, limits.capacity / 512) else { return };
    let sentinel = DiskRange { bytes: 1..2, unmap: true };
    let mut lists = Lists {
        segments: vec![Segment { address: GuestAddress(7), len: 9 }],
        ranges: vec![sentinel.clone()],
    };
    let before = Snapshot::of(&ram);
    let parsed = request::parse(&chain, &ram, &limits, &mut lists);
    before.assert_same(&ram, &[], "the parser");
    assert_eq!(lists.segments[0], Segment { address: GuestAddress(7), len: 9 });
    assert_eq!(lists.ranges[0], sentinel);
    match parsed {
        Ok(request) => check(&chain, &limits, &lists, &request),
        Err(_) => assert!(chain.writable().is_empty(), "there is room for a status"),
    }
}

/// The chain that `input` describes, through a real virtqueue; the disk has `sectors`.
fn chain(input: &mut Input<'_>, ram: &GuestRam, sectors: u64) -> Option<Chain> {
    let rings = Rings::orderly(0, QUEUE_SIZE);
    let layout = QueueLayout {
        index: 0,
        max_size: QUEUE_SIZE,
        size: QUEUE_SIZE,
        descriptors: rings.descriptors,
        available: rings.available,
        used: rings.used,
        event_idx: false,
        indirect: false,
    };
    let mut queue = Virtqueue::new(Arc::clone(ram), layout, QueueInterrupt::new(Arc::new(Deaf), 0)).ok()?;
    let (readable, writable) = (input.below(9), input.below(9));
    let mut at = BUFFERS;
    let mut buffers = Vec::new();
    for index in 0..readable + writable {
        let len = match input.u8() {
            0xff => input.u32() & 0x3fff,
            0x60..=0x9f => 512 * u32::from(input.u8() & 7),
            0xa0..=0xef => 16,
            0xf0..=0xfd => 0,
            len => u32::from(len & 0x1f),
        };
        buffers.push((at, len, index >= readable));
        // Some overlap.
        at += u64::from(len) * u64::from(input.u8() != 0);
        at = if at > 0x7000 { BUFFERS } else { at };
    }
    // The header begins with a type that exists, mostly; then a sector and, of some types, ranges.
    let kind = input.u8();
    let kind = if kind < 0xf0 { [0, 1, 4, 8, 11, 13][usize::from(kind % 6)] } else { kind };
    let mut content = vec![kind, 0, 0, 0, 0, 0, 0, 0];
    content.extend(sector(input, sectors).to_le_bytes());
    for _ in 0..input.below(4) {
        content.extend(sector(input, sectors).to_le_bytes());
        content.extend([input.u8(), 0, 0, 0, input.u8() & input.u8(), 0, 0, 0]);
    }
    content.extend_from_slice(input.bytes(ram::LOW));
    ram::store(ram, BUFFERS, &content);
    rings.chain(ram, 0, &buffers);
    queue.pop().ok().flatten()
}

/// Near the first or the last sector, or any.
fn sector(input: &mut Input<'_>, sectors: u64) -> u64 {
    match input.u8() {
        kind @ 0..=0x5f => kind.into(),
        kind @ 0x60..=0xdf => sectors.wrapping_sub(u64::from(kind & 0x1f)).wrapping_add(2),
        _ => input.number(),
    }
}

fn check(chain: &Chain, limits: &Limits, lists: &Lists, request: &Request) {
    let last = chain.writable().last().expect("a request with a status has room for it");
    assert_eq!(request.status.0, last.address.0 + u64::from(last.len) - 1);
    assert_eq!(request.head, chain.head());
    assert_eq!((request.data.start, request.data.end), (1, lists.segments.len()));
    let data = &lists.segments[request.data.clone()];
    let sum: u64 = data.iter().map(|segment| u64::from(segment.len)).sum();
    assert_eq!(sum, u64::from(request.len));
    let (from, place) = match &request.action {
        Action::Read(offset) => (chain.writable(), Some(*offset)),
        Action::Write(offset) => (chain.readable(), Some(*offset)),
        Action::Identify => (chain.writable(), None),
        action => {
            assert!(data.is_empty(), "{action:?} has no data");
            check_ranges(action, limits, lists);
            return;
        }
    };
    let within = |segment: &Segment| {
        from.iter().any(|whole| {
            let (start, end) = (whole.address.0, whole.address.0 + u64::from(whole.len));
            start <= segment.address.0 && segment.address.0 + u64::from(segment.len) <= end
        })
    };
    assert!(data.iter().all(within), "data outside the chain's buffers");
    assert_eq!(lists.ranges.len(), 1);
    if let Some(offset) = place {
        assert_eq!((offset % 512, sum % 512), (0, 0), "whole sectors");
        assert!(offset.checked_add(sum).is_some_and(|end| end <= limits.capacity), "beyond the disk");
    }
    assert!(!limits.read_only || !matches!(request.action, Action::Write(_)));
}

fn check_ranges(action: &Action, limits: &Limits, lists: &Lists) {
    let (ranges, most) = match action {
        Action::Discard(ranges) => (ranges.clone(), MAX_DISCARD_RANGES as usize),
        Action::WriteZeroes(ranges) => (ranges.clone(), 1),
        _ => {
            assert_eq!(lists.ranges.len(), 1);
            return;
        }
    };
    assert!(!limits.read_only);
    assert_eq!((ranges.start, ranges.end), (1, lists.ranges.len()));
    assert!((1..=most).contains(&ranges.len()));
    for range in &lists.ranges[ranges] {
        assert!(range.bytes.start <= range.bytes.end && range.bytes.end <= limits.capacity);
        assert_eq!((range.bytes.start % 512, range.bytes.end % 512), (0, 0));
    }
}
