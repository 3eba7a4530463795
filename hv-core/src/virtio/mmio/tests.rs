//! The MMIO transport's registers and its interrupt line.

use proptest::prelude::*;

use super::*;
use crate::{
    testing::{Rig, TransportKind},
    virtio::entropy::Entropy,
};

fn rig() -> Rig {
    Rig::new(TransportKind::Mmio, Box::new(Entropy::new("entropy0", Box::new(std::io::repeat(7)))))
}

const BASE: u64 = 0xf000_0000;

fn load(rig: &Rig, offset: u64) -> u32 {
    let mut data = [0; 4];
    rig.bus.read(BASE + offset, &mut data);
    u32::from_le_bytes(data)
}

fn store(rig: &Rig, offset: u64, value: u32) {
    rig.bus.write(BASE + offset, &value.to_le_bytes());
}

#[test]
fn the_window_says_what_is_in_it() {
    let rig = rig();
    let identity = [0, 4, 8, 0xc].map(|offset| load(&rig, offset));
    assert_eq!(identity, [u32::from_le_bytes(*b"virt"), 2, 4, 0x1af4]);
    assert_eq!(load(&rig, 0x34), 64);
    store(&rig, 0x30, 1);
    assert_eq!(load(&rig, 0x34), 0);
    store(&rig, 0x30, 0x1_0000);
    assert_eq!(load(&rig, 0x34), 0, "a queue number is not cut to 16 bits");
    assert_eq!([0xb0, 0xb4, 0xb8, 0xbc].map(|offset| load(&rig, offset)), [!0; 4]);
    assert_eq!(load(&rig, 0x100), 0);
}

#[test]
fn registers_take_aligned_words_only() {
    let rig = rig();
    for (offset, size) in [(0, 1), (0, 2), (1, 4), (2, 4), (0, 8), (0xfe, 4)] {
        let mut data = vec![0; size];
        rig.bus.read(BASE + offset, &mut data);
        assert!(data.iter().all(|byte| *byte == 0xff), "{offset:#x} {size}");
    }
    for data in [&[1][..], &[1, 0], &[1, 0, 0, 0, 0, 0, 0, 0]] {
        rig.bus.write(BASE + 0x70, data);
        assert_eq!(load(&rig, 0x70), 0);
    }
}

#[test]
fn the_line_is_high_until_all_is_acknowledged() {
    let chip = Arc::new(crate::testing::RecordingChip::default());
    let interrupt = Interrupt { line: IrqLine::new(chip.clone(), 17), status: Mutex::new(0) };
    interrupt.queue_used(0);
    interrupt.config_changed();
    assert_eq!((interrupt.status(), chip.line(17)), (3, true));
    interrupt.acknowledge(1);
    assert_eq!((interrupt.status(), chip.line(17)), (2, true));
    interrupt.acknowledge(2);
    assert_eq!((interrupt.status(), chip.line(17)), (0, false));
    assert_eq!(chip.interrupts(), 1);
}

/// An access: offset, bytes to store or how many to load.
#[derive(Debug, Clone)]
enum Access {
    Load(u64, usize),
    Store(u64, Vec<u8>),
}

fn access() -> impl Strategy<Value = Access> {
    let width = || prop::sample::select(vec![1_usize, 2, 4, 8]);
    // Values that get far: statuses, small numbers, addresses in RAM.
    let value = prop_oneof![
        0..16_u64,
        Just(0x1_0000),
        Just(0x10_0000),
        any::<u32>().prop_map(u64::from),
        any::<u64>()
    ];
    let offset = prop_oneof![(0..0x48_u64).prop_map(|word| word * 4), 0..0x200_u64, 0..WINDOW_SIZE];
    let store = (offset, value, prop_oneof![3 => Just(4), 1 => width()])
        .prop_map(|(offset, value, width)| Access::Store(offset, value.to_le_bytes()[..width].to_vec()));
    let status = prop::sample::select(vec![0, 1, 3, 11, 15])
        .prop_map(|status| Access::Store(0x70, vec![status, 0, 0, 0]));
    let load = (0..WINDOW_SIZE, width()).prop_map(|(offset, width)| Access::Load(offset, width));
    prop_oneof![6 => store, 2 => status, 1 => load]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_accesses_leave_a_device_that_can_be_reset(accesses in prop::collection::vec(access(), 0..200)) {
        let mut rig = rig();
        for access in accesses {
            match access {
                Access::Load(offset, width) => rig.bus.read(BASE + offset, &mut vec![0; width]),
                Access::Store(offset, data) => rig.bus.write(BASE + offset, &data),
            }
        }
        rig.driver.start_with(0);
        let buffer = rig.driver.writable(2);
        prop_assert_eq!(rig.driver.request(0, &[buffer]), 2);
    }
}
