//! Virtqueues against a driver that is right, and against ones that are not.

use std::sync::Mutex;

use vm_memory::{Bytes, GuestAddress};

use super::*;
use crate::testing::{
    driver::{Buffer, DriverQueue, Style},
    ram,
};

const EVENT_IDX: u64 = 1 << 29;
const INDIRECT: u64 = 1 << 28;
const NEXT: u16 = 1;
const WRITE: u16 = 2;
const INDIRECT_FLAG: u16 = 4;

#[derive(Default)]
struct Counter(Mutex<u32>);

impl InterruptSink for Counter {
    fn queue_used(&self, queue: u16) {
        assert_eq!(queue, 3);
        *self.0.lock().unwrap() += 1;
    }
    fn config_changed(&self) {
        panic!("a queue does not change the configuration");
    }
}

struct Pair {
    driver: DriverQueue,
    device: Virtqueue,
    interrupts: std::sync::Arc<Counter>,
    ram: GuestRam,
}

fn pair(size: u16, features: u64) -> Pair {
    let ram = ram(&[(0, 16 << 20), (4 << 30, 0x1000)]);
    let driver = DriverQueue::new(ram.clone(), size, 0x1_0000, features);
    let interrupts = std::sync::Arc::new(Counter::default());
    let layout = layout(&driver, features);
    let interrupt = QueueInterrupt::new(interrupts.clone(), 3);
    let device = Virtqueue::new(ram.clone(), layout, interrupt).unwrap();
    Pair { driver, device, interrupts, ram }
}

fn layout(driver: &DriverQueue, features: u64) -> QueueLayout {
    let [descriptors, available, used] = driver.addresses();
    QueueLayout {
        index: 3,
        max_size: driver.size(),
        size: driver.size(),
        descriptors,
        available,
        used,
        event_idx: features & EVENT_IDX != 0,
        indirect: features & INDIRECT != 0,
    }
}

fn readable(address: u64, len: u32) -> Buffer {
    Buffer { address, len, writable: false }
}

fn writable(address: u64, len: u32) -> Buffer {
    Buffer { address, len, writable: true }
}

fn segment(address: u64, len: u32) -> Segment {
    Segment { address: GuestAddress(address), len }
}

#[test]
fn chains_arrive_as_they_were_made() {
    for style in [Style::Direct, Style::Indirect] {
        let mut pair = pair(8, INDIRECT);
        pair.driver.style = style;
        let buffers = [
            readable(0x80_0000, 16),
            readable(4 << 30, 0x1000),
            writable(0x80_1000, 512),
            writable(0x80_2000, 1),
        ];
        let head = pair.driver.add(&buffers).unwrap();
        let chain = pair.device.pop().unwrap().unwrap();
        assert_eq!(chain.head(), head);
        assert_eq!(chain.readable(), [segment(0x80_0000, 16), segment(4 << 30, 0x1000)]);
        assert_eq!(chain.writable(), [segment(0x80_1000, 512), segment(0x80_2000, 1)]);
        assert_eq!((chain.readable_len(), chain.writable_len()), (0x1010, 513));
        assert_eq!(pair.device.pop().unwrap(), None);
        pair.device.push(head, 513).unwrap();
        assert_eq!(pair.driver.take_used(), None, "the driver sees it with the batch");
        pair.device.signal().unwrap();
        let used = pair.driver.take_used().unwrap();
        assert_eq!((used.head, used.written), (head, 513));
        assert_eq!(pair.driver.free(), 8);
    }
}

#[test]
fn bytes_are_copied_across_buffers_and_never_beyond() {
    let mut pair = pair(8, 0);
    pair.ram.write_slice(b"abcdefgh", GuestAddress(0x80_0000)).unwrap();
    let buffers =
        [readable(0x80_0000, 3), readable(0x80_0004, 4), writable(0x80_1000, 2), writable(0x80_2000, 3)];
    pair.driver.add(&buffers).unwrap();
    let chain = pair.device.pop().unwrap().unwrap();
    let read = |offset, size| {
        let mut data = vec![b'.'; size];
        let done = chain.read_at(&pair.ram, offset, &mut data);
        (done, String::from_utf8(data).unwrap())
    };
    assert_eq!(read(0, 7), (7, "abcefgh".into()));
    assert_eq!(read(2, 3), (3, "cef".into()));
    assert_eq!(read(3, 9), (4, "efgh.....".into()));
    assert_eq!(read(7, 2), (0, "..".into()));
    assert_eq!(read(u32::MAX, 2), (0, "..".into()));
    assert_eq!(chain.write_at(&pair.ram, 1, b"123456"), 4);
    let bytes = |address, len| {
        let mut data = vec![0; len];
        pair.ram.read_slice(&mut data, GuestAddress(address)).unwrap();
        data
    };
    assert_eq!(bytes(0x80_1000, 3), b"\x001\0");
    assert_eq!(bytes(0x80_2000, 4), b"234\0");
}

#[test]
fn empty_buffers_are_no_segments() {
    let mut pair = pair(8, 0);
    pair.driver.add(&[readable(!0, 0), readable(0x80_0000, 1), writable(!0, 0)]).unwrap();
    let chain = pair.device.pop().unwrap().unwrap();
    assert_eq!((chain.readable(), chain.writable()), (&[segment(0x80_0000, 1)][..], &[][..]));
}

#[test]
fn indices_wrap_around_many_times() {
    for features in [0, EVENT_IDX | INDIRECT] {
        let mut pair = pair(4, features);
        for round in 0..100_000_u32 {
            let head = pair.driver.add(&[writable(0x80_0000, 4)]).unwrap();
            let chain = pair.device.pop().unwrap().unwrap();
            pair.device.push(chain.head(), round).unwrap();
            pair.device.signal().unwrap();
            pair.device.recycle(chain);
            let used = pair.driver.take_used().unwrap();
            assert_eq!((used.head, used.written), (head, round));
        }
    }
}

/// A breach of the protocol, and a word of what is said of it.
type Breach = (&'static str, fn(&mut Pair));

const BREACHES: &[Breach] = &[
    ("available ring index", |pair| pair.driver.set_available_index(9)),
    ("available ring index", |pair| pair.driver.set_available_index(u16::MAX)),
    ("descriptor 8 is beyond", |pair| pair.driver.publish(8)),
    ("descriptor 65535 is beyond", |pair| pair.driver.publish(u16::MAX)),
    ("descriptor 9 is beyond", |pair| descriptor(pair, 0x80_0000, 1, NEXT, 9)),
    ("loop", |pair| descriptor(pair, 0x80_0000, 1, NEXT, 0)),
    ("loop", |pair| descriptor(pair, 0x80_0000, 0, NEXT, 0)),
    ("not in RAM", |pair| descriptor(pair, 0x100_0000, 1, 0, 0)),
    ("not in RAM", |pair| descriptor(pair, 0xff_ffff, 2, WRITE, 0)),
    ("not in RAM", |pair| descriptor(pair, !0, 1, 0, 0)),
    ("not in RAM", |pair| descriptor(pair, !0, u32::MAX, WRITE, 0)),
    ("not in RAM", |pair| descriptor(pair, (4 << 30) + 0xfff, 2, 0, 0)),
    ("readable buffer after a writable", |pair| {
        pair.driver.write_descriptor(1, 0x80_0000, 1, 0, 0);
        descriptor(pair, 0x80_0000, 1, WRITE | NEXT, 1);
    }),
    ("indirect table of 0 bytes", |pair| descriptor(pair, 0x80_0000, 0, INDIRECT_FLAG, 0)),
    ("indirect table of 15 bytes", |pair| descriptor(pair, 0x80_0000, 15, INDIRECT_FLAG, 0)),
    ("indirect table of 1048576 bytes", |pair| descriptor(pair, 0, 1 << 20, INDIRECT_FLAG, 0)),
    ("descriptor table at 0x1000000 is not", |pair| descriptor(pair, 0x100_0000, 16, INDIRECT_FLAG, 0)),
    ("descriptor table at 0xffffffffffffffff is", |pair| descriptor(pair, !0, 16, INDIRECT_FLAG, 0)),
    ("indirect descriptor with", |pair| descriptor(pair, 0x80_0000, 16, INDIRECT_FLAG | NEXT, 1)),
    ("within an indirect table", |pair| {
        // The descriptor table as its own indirect table.
        let [table, ..] = pair.driver.addresses();
        descriptor(pair, table, 128, INDIRECT_FLAG, 0);
    }),
];

fn descriptor(pair: &mut Pair, address: u64, len: u32, flags: u16, next: u16) {
    pair.driver.write_descriptor(0, address, len, flags, next);
    pair.driver.publish(0);
}

#[test]
fn each_breach_of_the_protocol_is_an_error() {
    for (word, breach) in BREACHES {
        let mut pair = pair(8, INDIRECT);
        breach(&mut pair);
        let error = pair.device.pop().expect_err(word).to_string();
        assert!(error.starts_with("virtqueue 3: ") && error.contains(word), "{error:?} lacks {word:?}");
    }
}

#[test]
fn an_indirect_descriptor_must_be_negotiated() {
    let mut pair = pair(8, 0);
    descriptor(&mut pair, 0x80_0000, 16, INDIRECT_FLAG, 0);
    assert!(pair.device.pop().unwrap_err().reason.contains("VIRTIO_F_INDIRECT_DESC"));
}

#[test]
fn a_chain_is_at_most_4_gib_and_the_queue_long() {
    let mut pair = pair(512, 0);
    let sixteen_mib = readable(0, 16 << 20);
    pair.driver.add(&[sixteen_mib; 255]).unwrap();
    assert_eq!(pair.device.pop().unwrap().unwrap().readable_len(), 255 << 24);
    pair.driver.add(&[sixteen_mib; 256]).unwrap();
    assert!(pair.device.pop().unwrap_err().reason.contains("4 GiB"));

    let mut pair = self::pair(8, INDIRECT);
    pair.driver.style = Style::Indirect;
    pair.driver.add(&[readable(0, 1); 8]).unwrap();
    assert_eq!(pair.device.pop().unwrap().unwrap().readable().len(), 8);
    pair.driver.add(&[readable(0, 1); 10]).unwrap();
    assert!(pair.device.pop().unwrap_err().reason.contains("longer than 8"));
}

#[test]
fn giving_back_a_descriptor_that_is_not_there_is_an_error() {
    let mut pair = pair(8, 0);
    assert!(pair.device.push(8, 0).is_err());
    pair.device.push(7, 0).unwrap();
}

#[test]
fn the_driver_is_interrupted_once_a_batch_and_only_if_it_wants() {
    for (features, fired) in [(0, [1, 1, 2]), (EVENT_IDX, [1, 1, 2])] {
        let mut pair = pair(8, features);
        let interrupts = |pair: &Pair| *pair.interrupts.0.lock().unwrap();
        let batch = |pair: &mut Pair| {
            for _ in 0..3 {
                pair.driver.add(&[writable(0, 1)]).unwrap();
                let chain = pair.device.pop().unwrap().unwrap();
                pair.device.push(chain.head(), 1).unwrap();
            }
            pair.device.signal().unwrap();
            pair.device.signal().unwrap();
            while pair.driver.take_used().is_some() {}
        };
        pair.device.signal().unwrap();
        assert_eq!(interrupts(&pair), 0);
        pair.driver.enable_interrupt();
        batch(&mut pair);
        assert_eq!(interrupts(&pair), fired[0]);
        pair.driver.disable_interrupt();
        batch(&mut pair);
        assert_eq!(interrupts(&pair), fired[1]);
        pair.driver.enable_interrupt();
        batch(&mut pair);
        assert_eq!(interrupts(&pair), fired[2]);
    }
}

#[test]
fn the_doorbell_is_wanted_only_while_it_is_enabled() {
    for features in [0, EVENT_IDX] {
        let mut pair = pair(8, features);
        assert!(!pair.device.enable_doorbell().unwrap());
        pair.device.disable_doorbell().unwrap();
        if features == 0 {
            pair.driver.add(&[writable(0, 1)]).unwrap();
            assert!(!pair.driver.wants_kick());
            assert!(pair.device.enable_doorbell().unwrap(), "a chain came meanwhile");
            pair.device.pop().unwrap().unwrap();
        }
        assert!(!pair.device.enable_doorbell().unwrap());
        pair.driver.add(&[writable(0, 1)]).unwrap();
        assert!(pair.driver.wants_kick());
        pair.driver.add(&[writable(0, 1)]).unwrap();
        assert_eq!(pair.driver.wants_kick(), features == 0, "event-idx asks for the first one only");
        assert!(pair.device.enable_doorbell().unwrap());
    }
}

#[test]
fn a_layout_that_cannot_be_is_refused() {
    let pair = pair(8, 0);
    let good = layout(&pair.driver, 0);
    good.check(&pair.ram).unwrap();
    let bad = [
        QueueLayout { max_size: 0, ..good },
        QueueLayout { max_size: 7, ..good },
        QueueLayout { size: 0, ..good },
        QueueLayout { size: 6, ..good },
        QueueLayout { size: 16, ..good },
        QueueLayout { descriptors: good.descriptors + 8, ..good },
        QueueLayout { available: good.available + 1, ..good },
        QueueLayout { used: good.used + 2, ..good },
        QueueLayout { descriptors: 0x100_0000 - 64, ..good },
        QueueLayout { available: 0x100_0000 - 16, ..good },
        QueueLayout { used: 0x100_0000 - 64, ..good },
        QueueLayout { descriptors: !0xf, ..good },
        QueueLayout { available: !1, ..good },
        QueueLayout { used: !3, ..good },
    ];
    for layout in bad {
        layout.check(&pair.ram).expect_err(&format!("{layout:?}"));
    }
}

/// `cargo test --release -p hv-core what_a_chain_costs -- --ignored --nocapture` prints it.
#[test]
#[ignore = "a measurement, not a test"]
fn what_a_chain_costs() {
    for (name, features, style) in
        [("direct", EVENT_IDX, Style::Direct), ("indirect", EVENT_IDX | INDIRECT, Style::Indirect)]
    {
        let mut pair = pair(256, features);
        pair.driver.style = style;
        let buffers = [readable(0x80_0000, 16), writable(0x81_0000, 4096), writable(0x80_0010, 1)];
        let mut batches = Vec::new();
        for _ in 0..20_000 {
            for _ in 0..64 {
                pair.driver.add(&buffers).unwrap();
            }
            let start = std::time::Instant::now();
            while let Some(chain) = pair.device.pop().unwrap() {
                pair.device.push(chain.head(), 4097).unwrap();
                pair.device.recycle(chain);
            }
            pair.device.signal().unwrap();
            batches.push(start.elapsed());
            while pair.driver.take_used().is_some() {}
        }
        batches.sort();
        let median = batches[batches.len() / 2].as_nanos() / 64;
        println!("{name}: {median} ns for pop and push of 3 buffers");
    }
}
