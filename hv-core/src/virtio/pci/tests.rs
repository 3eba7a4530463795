//! The PCI transport: capabilities, moving doorbells, vectors.

use proptest::prelude::*;

use super::*;
use crate::{
    bus::Bus,
    io::{DoorbellHost, NoDoorbellHost},
    testing::{
        self, RecordingChip, Rig, SoftDoorbells, TransportKind,
        driver::{Driver, Interrupts, PciRegisters, Registers},
        rig,
    },
    virtio::entropy::Entropy,
};

fn make(kind: TransportKind) -> Rig {
    Rig::new(kind, Box::new(Entropy::new("entropy0", Box::new(std::io::repeat(7)))))
}

/// Configuration space of a rig's device.
const SPACE: u64 = 0xe000_0000 + (3 << 15);

fn registers(rig: &Rig, interrupts: Interrupts) -> PciRegisters {
    PciRegisters::new(rig.bus.clone(), 0xe000_0000, 3, rig.doorbells.clone(), rig.chip.clone(), interrupts)
}

fn load<const N: usize>(rig: &Rig, address: u64) -> [u8; N] {
    let mut data = [0; N];
    rig.bus.read(address, &mut data);
    data
}

#[test]
fn the_function_is_a_modern_virtio_device() {
    let rig = make(TransportKind::PciMsix);
    assert_eq!(load(&rig, SPACE), [0xf4, 0x1a, 0x44, 0x10]);
    assert_eq!(load(&rig, SPACE + 8), [1, 0, 0, 0xff]);
    assert_eq!(load(&rig, SPACE + 0x2c), [0xf4, 0x1a, 0x44, 0]);
    let capabilities = registers(&rig, Interrupts::Msix).capabilities();
    let kinds: Vec<_> =
        capabilities.iter().filter(|(id, _)| *id == 9).map(|(_, at)| load::<1>(&rig, at + 3)[0]).collect();
    assert_eq!(kinds, [1, 2, 3, 4, 5]);
}

#[test]
fn doorbells_follow_the_bar_while_the_device_works() {
    let mut rig = make(TransportKind::PciMsix);
    rig.driver.start_with(0);
    let buffer = rig.driver.writable(1);
    rig.driver.request(0, &[buffer]);
    let mut registers = registers(&rig, Interrupts::Msix);
    let old = registers.bar(0);
    for address in [0xd000_0000, (500_u64 << 30), old] {
        registers.move_bar(0, address);
        assert_eq!(rig.doorbells.watched(), 1);
        rig.driver.add(0, &[buffer]);
        assert!(rig.doorbells.store(address + NOTIFY, 0), "the doorbell is where the BAR is");
        assert_eq!(rig.driver.wait_used(0).written, 1);
    }
    rig.bus.write(SPACE + 4, &[4, 0]);
    assert_eq!(rig.doorbells.watched(), 0, "a BAR that does not decode has no doorbell");
    rig.bus.write(SPACE + 4, &[6, 0]);
    rig.driver.request(0, &[buffer]);
}

#[test]
fn a_doorbell_rung_while_doorbells_move_is_not_lost() {
    let ram = testing::ram(&[(0, 64 << 20)]);
    let chip = Arc::new(RecordingChip::default());
    for watched in [false, true] {
        let doorbells = SoftDoorbells::default();
        let host: Arc<dyn DoorbellHost> =
            if watched { Arc::new(doorbells.clone()) } else { Arc::new(NoDoorbellHost) };
        let surroundings = Surroundings {
            ram: ram.clone(),
            doorbells: host,
            reclaimer: Arc::new(crate::hypervisor::NoReclaimer),
            threads: crate::io::Threads::of_any_kind(),
        };
        let entropy = Entropy::new("entropy0", Box::new(std::io::repeat(7)));
        let line = IrqLine::new(chip.clone(), 17);
        let pci = Arc::new(Pci::new(Box::new(entropy), surroundings, chip.clone(), line).unwrap());
        let mut bus = Bus::default();
        rig::segment(&mut bus, pci.clone());
        let registers = rig::registers(TransportKind::PciMsix, &Arc::new(bus), &doorbells, &chip);
        let mut driver = Driver::new(registers, ram.clone(), 1 << 20);
        driver.start_with(0);
        let buffer = driver.writable(1);
        for round in 0..1000 {
            // One move only: a further one would have the queue looked at again and hide a lost doorbell.
            std::thread::scope(|scope| {
                scope.spawn(|| pci.bars_changed());
                (0..round * 20).for_each(|_| std::hint::spin_loop());
                driver.request(0, &[buffer]);
            });
        }
    }
}

#[test]
fn vectors_that_are_not_there_are_refused() {
    let rig = make(TransportKind::PciMsix);
    let common = registers(&rig, Interrupts::Msix).bar(0);
    for (vector, kept) in [(0_u16, 0_u16), (1, 1), (2, 0xffff), (0xffff, 0xffff)] {
        for register in [0x10, 0x1a] {
            rig.bus.write(common + register, &vector.to_le_bytes());
            assert_eq!(load(&rig, common + register), kept.to_le_bytes());
        }
    }
}

#[test]
fn a_queue_without_a_vector_is_silent() {
    let mut rig = make(TransportKind::PciMsix);
    rig.driver.negotiate(0);
    rig.driver.set_up_queue(0, 8);
    let common = registers(&rig, Interrupts::Msix).bar(0);
    rig.bus.write(common + 0x1a, &[0xff, 0xff]);
    rig.driver.start();
    let buffer = rig.driver.writable(1);
    rig.driver.add(0, &[buffer]);
    rig.driver.kick(0);
    while rig.driver.queue(0).take_used().is_none() {}
    rig.device.pause();
    assert_eq!(rig.chip.interrupts(), 0);
}

#[test]
fn common_configuration_can_be_read_in_any_width() {
    let rig = make(TransportKind::PciLine);
    let common = registers(&rig, Interrupts::Line(17)).bar(0);
    rig.bus.write(common, &1_u32.to_le_bytes());
    assert_eq!(load(&rig, common), [1, 0, 0, 0, 1, 0, 0, 0]);
    assert_eq!(load(&rig, common + 0x11), [0xff, 1]);
    assert_eq!(load(&rig, common + 0x36), [0; 8]);
    rig.bus.write(common + 0x20, &0x1234_5678_9abc_def0_u64.to_le_bytes());
    assert_eq!(load(&rig, common + 0x20), 0x1234_5678_9abc_def0_u64.to_le_bytes());
    rig.bus.write(common + 0x24, &[1, 2, 3, 4]);
    assert_eq!(load(&rig, common + 0x20), [0xf0, 0xde, 0xbc, 0x9a, 1, 2, 3, 4]);
}

#[test]
fn configuration_space_has_a_window_into_the_bar() {
    let rig = make(TransportKind::PciLine);
    let registers = registers(&rig, Interrupts::Line(17));
    let (_, window) =
        registers.capabilities().into_iter().find(|(_, at)| load::<4>(&rig, *at)[3] == 5).unwrap();
    let aim = |offset: u32, len: u32| {
        rig.bus.write(window + 8, &offset.to_le_bytes());
        rig.bus.write(window + 12, &len.to_le_bytes());
    };
    aim(0x12, 2);
    assert_eq!(load(&rig, window + 16), [1, 0]);
    aim(0x14, 1);
    rig.bus.write(window + 16, &[3]);
    assert_eq!(registers.status(), 3);
    // None of these is an access that the BAR allows.
    for (offset, len) in
        [(0x14, 0), (0x14, 3), (0x14, 8), (0x15, 2), (0x4000, 4), (u32::MAX, 1), (0x14, u32::MAX)]
    {
        aim(offset, len);
        rig.bus.write(window + 16, &[0; 4]);
        load::<4>(&rig, window + 16);
        assert_eq!(registers.status(), 3, "{offset:#x} {len}");
    }
}

#[derive(Debug, Clone)]
enum Access {
    Load(u64, usize),
    Store(u64, Vec<u8>),
}

fn access() -> impl Strategy<Value = Access> {
    let width = || prop::sample::select(vec![1_usize, 2, 4, 8]);
    let value = prop_oneof![0..16_u64, Just(0x1_0000), Just(0x10_0000), any::<u64>()];
    // Places in BAR 0 where firmware put it, or in configuration space.
    let bar = 448_u64 << 30;
    let place = || {
        prop_oneof![
            6 => (0..0x40_u64).prop_map(move |at| bar + at),
            2 => (0..0x5100_u64).prop_map(move |at| bar + at),
            2 => (0..0x110_u64).prop_map(|at| SPACE + at),
        ]
    };
    let store = (place(), value, width())
        .prop_map(|(at, value, width)| Access::Store(at, value.to_le_bytes()[..width].to_vec()));
    let status = prop::sample::select(vec![0, 1, 3, 11, 15])
        .prop_map(move |status| Access::Store(bar + 0x14, vec![status]));
    let enable = Just(Access::Store(SPACE + 4, vec![6, 0]));
    let load = (place(), width()).prop_map(|(at, width)| Access::Load(at, width));
    prop_oneof![6 => store, 2 => status, 1 => enable, 1 => load]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_accesses_leave_a_device_that_can_be_reset(accesses in prop::collection::vec(access(), 0..200)) {
        let mut rig = make(TransportKind::PciMsix);
        for access in accesses {
            match access {
                Access::Load(at, width) => rig.bus.read(at, &mut vec![0; width]),
                Access::Store(at, data) => rig.bus.write(at, &data),
            }
        }
        rig.device.pause();
        rig.device.reset();
        rig.device.resume();
        rig.reconnect();
        rig.driver.start_with(0);
        let buffer = rig.driver.writable(2);
        prop_assert_eq!(rig.driver.request(0, &[buffer]), 2);
    }
}
