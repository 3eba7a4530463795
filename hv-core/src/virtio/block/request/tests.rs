//! Disk requests as drivers frame them, and what is refused.

use std::sync::Arc;

use proptest::prelude::*;
use vm_memory::{Bytes, GuestMemoryMmap};

use super::*;
use crate::virtio::{
    QueueInterrupt, Virtqueue,
    queue::{InterruptSink, QueueLayout},
};

const LIMITS: Limits = Limits { capacity: 1 << 20, read_only: false, discard: true, write_zeroes: true };
const TABLE: u64 = 0x1000;
const HEADER: u64 = 0x8000;
const DATA: u64 = 0x1_0000;
const STATUS: u64 = 0x9000;

struct Silence;

impl InterruptSink for Silence {
    fn queue_used(&self, _: u16) {}
    fn config_changed(&self) {}
}

fn ram() -> GuestRam {
    Arc::new(GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 1 << 20)]).unwrap())
}

/// A chain of these buffers: address, length, written by the device.
fn chain(ram: &GuestRam, buffers: &[(u64, u32, bool)]) -> Chain {
    for (index, &(address, len, write)) in buffers.iter().enumerate() {
        let at = TABLE + 16 * index as u64;
        let more = index + 1 < buffers.len();
        ram.write_obj(address, GuestAddress(at)).unwrap();
        ram.write_obj(len, GuestAddress(at + 8)).unwrap();
        ram.write_obj(u16::from(more) | u16::from(write) << 1, GuestAddress(at + 12)).unwrap();
        ram.write_obj(u16::try_from(index + 1).unwrap(), GuestAddress(at + 14)).unwrap();
    }
    ram.write_obj([0_u16, 1, 0], GuestAddress(0x2000)).unwrap();
    let layout = QueueLayout {
        max_size: 64,
        size: 64,
        descriptors: TABLE,
        available: 0x2000,
        used: 0x3000,
        ..QueueLayout::default()
    };
    let interrupt = QueueInterrupt::new(Arc::new(Silence), 0);
    Virtqueue::new(Arc::clone(ram), layout, interrupt).unwrap().pop().unwrap().unwrap()
}

fn header(ram: &GuestRam, kind: u32, sector: u64) {
    ram.write_obj(kind, GuestAddress(HEADER)).unwrap();
    ram.write_obj(0_u32, GuestAddress(HEADER + 4)).unwrap();
    ram.write_obj(sector, GuestAddress(HEADER + 8)).unwrap();
}

fn parsed(ram: &GuestRam, buffers: &[(u64, u32, bool)], limits: &Limits) -> (Request, Lists) {
    let mut lists = Lists::default();
    let request = parse(&chain(ram, buffers), ram, limits, &mut lists).unwrap();
    (request, lists)
}

/// The answer to a request of `kind` at `sector` with these data buffers.
fn action_of(kind: u32, sector: u64, data: &[(u64, u32, bool)], limits: &Limits) -> Action {
    let ram = ram();
    header(&ram, kind, sector);
    let mut buffers = vec![(HEADER, 16, false)];
    buffers.extend(data);
    buffers.push((STATUS, 1, true));
    parsed(&ram, &buffers, limits).0.action
}

fn segment(address: u64, len: u32) -> Segment {
    Segment { address: GuestAddress(address), len }
}

#[test]
fn header_data_and_status_are_found_in_any_framing() {
    let ram = ram();
    header(&ram, VIRTIO_BLK_T_OUT, 3);
    let plain = [(HEADER, 16, false), (HEADER + 16, 1024, false), (STATUS, 1, true)];
    let together = [(HEADER, 1040, false), (STATUS, 1, true)];
    let split = [(HEADER, 7, false), (HEADER + 7, 10, false), (HEADER + 17, 1023, false), (STATUS, 1, true)];
    for (buffers, expected) in [
        (&plain[..], vec![segment(HEADER + 16, 1024)]),
        (&together, vec![segment(HEADER + 16, 1024)]),
        (&split, vec![segment(HEADER + 16, 1), segment(HEADER + 17, 1023)]),
    ] {
        let (request, lists) = parsed(&ram, buffers, &LIMITS);
        assert_eq!(request.action, Action::Write(3 * 512));
        assert_eq!((request.len, request.status), (1024, GuestAddress(STATUS)));
        assert_eq!(lists.segments[request.data], expected);
    }

    header(&ram, VIRTIO_BLK_T_IN, 3);
    let (request, lists) = parsed(&ram, &[(HEADER, 16, false), (DATA, 513, true)], &LIMITS);
    assert_eq!((request.action, request.len), (Action::Read(3 * 512), 512));
    assert_eq!(request.status, GuestAddress(DATA + 512));
    assert_eq!(lists.segments, [segment(DATA, 512)]);
}

#[test]
fn what_lies_beyond_the_disk_is_refused() {
    let refused = Action::Refuse(Status::IoError);
    let sectors = LIMITS.capacity / 512;
    for kind in [VIRTIO_BLK_T_IN, VIRTIO_BLK_T_OUT] {
        let with = |sector, len| action_of(kind, sector, &[(DATA, len, kind == VIRTIO_BLK_T_IN)], &LIMITS);
        assert_ne!(with(sectors - 1, 512), refused);
        for (sector, len) in
            [(sectors - 1, 1024), (sectors, 512), (u64::MAX, 512), (u64::MAX / 512, 512), (0, 511)]
        {
            assert_eq!(with(sector, len), refused, "{len} bytes at sector {sector}");
        }
    }
}

#[test]
fn a_read_only_disk_refuses_all_changes() {
    let limits = Limits { read_only: true, ..LIMITS };
    for kind in [VIRTIO_BLK_T_OUT, VIRTIO_BLK_T_DISCARD, VIRTIO_BLK_T_WRITE_ZEROES] {
        let action = action_of(kind, 0, &[(DATA, 512, false)], &limits);
        assert_eq!(action, Action::Refuse(Status::IoError));
    }
    assert_eq!(action_of(VIRTIO_BLK_T_IN, 0, &[(DATA, 512, true)], &limits), Action::Read(0));
}

#[test]
fn unknown_and_unoffered_requests_are_unsupported() {
    let limits = Limits { discard: false, write_zeroes: false, ..LIMITS };
    for kind in [2, 3, 14, 15, u32::MAX, VIRTIO_BLK_T_DISCARD, VIRTIO_BLK_T_WRITE_ZEROES] {
        assert_eq!(action_of(kind, 0, &[], &limits), Action::Refuse(Status::Unsupported), "type {kind}");
    }
}

#[test]
fn a_short_header_is_answered_and_a_missing_status_is_not() {
    let ram = ram();
    let (request, _) = parsed(&ram, &[(HEADER, 15, false), (STATUS, 1, true)], &LIMITS);
    assert_eq!(request.action, Action::Refuse(Status::IoError));
    let (request, _) = parsed(&ram, &[(STATUS, 1, true)], &LIMITS);
    assert_eq!(request.action, Action::Refuse(Status::IoError));
    let chain = chain(&ram, &[(HEADER, 16, false)]);
    assert_eq!(parse(&chain, &ram, &LIMITS, &mut Lists::default()), Err(NoStatus));
}

/// The answer to a request of `kind` with these ranges.
fn action_on_ranges(kind: u32, ranges: Ranges<'_>) -> (Action, Vec<DiskRange>) {
    let ram = ram();
    header(&ram, kind, 0);
    for (index, &(sector, sectors, flags)) in ranges.iter().enumerate() {
        let at = DATA + 16 * index as u64;
        ram.write_obj(sector, GuestAddress(at)).unwrap();
        ram.write_obj([sectors, flags], GuestAddress(at + 8)).unwrap();
    }
    let len = u32::try_from(ranges.len() * 16).unwrap();
    let (request, lists) =
        parsed(&ram, &[(HEADER, 16, false), (DATA, len, false), (STATUS, 1, true)], &LIMITS);
    (request.action, lists.ranges)
}

/// First sector, sectors, flags.
type Ranges<'a> = &'a [(u64, u32, u32)];

#[test]
fn ranges_are_checked_one_and_all() {
    let (action, ranges) = action_on_ranges(VIRTIO_BLK_T_DISCARD, &[(1, 2, 0), (100, 0, 0)]);
    assert_eq!(action, Action::Discard(0..2));
    let range = |bytes, unmap| DiskRange { bytes, unmap };
    assert_eq!(ranges, [range(512..1536, false), range(51200..51200, false)]);
    let (action, ranges) = action_on_ranges(VIRTIO_BLK_T_WRITE_ZEROES, &[(8, 8, 1)]);
    assert_eq!((action, ranges), (Action::WriteZeroes(0..1), vec![range(4096..8192, true)]));

    let sectors = LIMITS.capacity / 512;
    let cases: [(u32, Ranges<'_>, Status); 9] = [
        (VIRTIO_BLK_T_DISCARD, &[(0, 1, 1)], Status::Unsupported),
        (VIRTIO_BLK_T_DISCARD, &[(0, 1, 2)], Status::Unsupported),
        (VIRTIO_BLK_T_WRITE_ZEROES, &[(0, 1, 2)], Status::Unsupported),
        (VIRTIO_BLK_T_DISCARD, &[(0, 1, 0), (sectors, 1, 0)], Status::IoError),
        (VIRTIO_BLK_T_DISCARD, &[(u64::MAX, 1, 0)], Status::IoError),
        (VIRTIO_BLK_T_DISCARD, &[(u64::MAX / 512, 1, 0)], Status::IoError),
        (VIRTIO_BLK_T_WRITE_ZEROES, &[(0, MAX_ZERO_SECTORS + 1, 0)], Status::IoError),
        (VIRTIO_BLK_T_WRITE_ZEROES, &[(0, 1, 0), (1, 1, 0)], Status::IoError),
        (VIRTIO_BLK_T_DISCARD, &[(0, 1, 0); 17], Status::IoError),
    ];
    for (kind, ranges, status) in cases {
        assert_eq!(action_on_ranges(kind, ranges), (Action::Refuse(status), vec![]), "{ranges:?}");
    }
}

#[test]
fn ranges_must_be_whole() {
    for len in [1, 15, 17, 31] {
        let action = action_of(VIRTIO_BLK_T_DISCARD, 0, &[(DATA, len, false)], &LIMITS);
        assert_eq!(action, Action::Refuse(Status::IoError));
    }
    assert_eq!(action_of(VIRTIO_BLK_T_DISCARD, 0, &[], &LIMITS), Action::Refuse(Status::IoError));
}

proptest! {
    /// Whatever the guest writes, a request that is not refused stays within the disk and its own buffers.
    #[test]
    fn no_request_leaves_the_disk(
        kind in prop_oneof![0..16_u32, any::<u32>()],
        sector in prop_oneof![0..4096_u64, any::<u64>()],
        sizes in prop::collection::vec((prop_oneof![Just(512_u32), 1..5000_u32], any::<bool>()), 0..10),
        bytes in prop::collection::vec(any::<u8>(), 64),
    ) {
        let ram = ram();
        header(&ram, kind, sector);
        ram.write_slice(&bytes, GuestAddress(DATA)).unwrap();
        let mut buffers = vec![(HEADER, 16, false)];
        buffers.extend(sizes.iter().filter(|size| !size.1).map(|size| (DATA, size.0, false)));
        buffers.extend(sizes.iter().filter(|size| size.1).map(|size| (DATA, size.0, true)));
        buffers.push((STATUS, 1, true));
        let (request, lists) = parsed(&ram, &buffers, &LIMITS);
        let data: u64 = lists.segments[request.data.clone()].iter().map(|segment| u64::from(segment.len)).sum();
        prop_assert_eq!(data, u64::from(request.len));
        prop_assert_eq!(request.status, GuestAddress(STATUS));
        if let Action::Read(offset) | Action::Write(offset) = request.action {
            prop_assert!(offset + data <= LIMITS.capacity);
        }
        for range in lists.ranges {
            prop_assert!(range.bytes.start <= range.bytes.end && range.bytes.end <= LIMITS.capacity);
        }
    }
}
