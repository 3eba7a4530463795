//! Things are where docs/machine-hv-1.md says.

use super::*;
use crate::{
    block::{BlockBackend, memory::MemoryDisk},
    virtio::{Kind, block::Block},
};

fn disk(slot: u8) -> (u8, Box<dyn VirtioDevice>) {
    let disk: Arc<dyn BlockBackend> = Arc::new(MemoryDisk::new(vec![0; 4096]));
    (slot, Box::new(Block::new(format!("disk{slot}"), "", disk, 1)))
}

const PLACES: [(u8, Kind); 5] =
    [(1, Kind::Console), (2, Kind::Entropy), (16, Kind::Block), (17, Kind::Block), (31, Kind::Block)];

fn bench(transport: Transport) -> Bench {
    let devices = vec![console(1), entropy(2), disk(16), disk(17), disk(31)];
    let mut bench = Bench::assemble(Scripted::default(), &config(transport, 1), devices).unwrap();
    bench.machine.start().unwrap();
    bench
}

fn kind_in(slot: u8) -> Option<Kind> {
    PLACES.iter().find(|(place, _)| *place == slot).map(|(_, kind)| *kind)
}

#[test]
fn pci_functions_are_in_their_slots() {
    let bench = bench(Transport::Pci);
    for slot in 0..32 {
        let [vendor, device] =
            [0, 2].map(|at| u16::from_le_bytes(bench.load(ECAM + (u64::from(slot) << 15) + at)));
        match kind_in(slot) {
            Some(kind) => {
                assert_eq!((vendor, device), (0x1af4, 0x1040 + u16::from(kind.number())), "slot {slot}");
            }
            None if slot == 0 => assert_eq!(bench.load(ECAM + 0xb), [0x06], "a host bridge"),
            None => assert_eq!((vendor, device), (0xffff, 0xffff), "slot {slot}"),
        }
    }
}

#[test]
fn both_ways_to_configuration_space_agree() {
    let bench = bench(Transport::Pci);
    let hand = bench.hand();
    for slot in 0..32_u32 {
        for register in (0..256_u32).step_by(4) {
            hand.port_write(0xcf8, &(1 << 31 | slot << 11 | register).to_le_bytes());
            let by_ports: [u8; 4] = hand.port_read(0xcfc);
            let by_memory = bench.load(ECAM + u64::from(slot << 15 | register));
            assert_eq!(by_ports, by_memory, "slot {slot}, register {register:#x}");
        }
    }
    // And in what they store: the interrupt line register of the console.
    hand.port_write(0xcf8, &(1_u32 << 31 | 1 << 11 | 0x3c).to_le_bytes());
    hand.port_write(0xcfc, &[7]);
    assert_eq!(bench.load(ECAM + (1 << 15) + 0x3c), [7]);
}

#[test]
fn virtio_mmio_windows_are_in_their_slots() {
    let bench = bench(Transport::Mmio);
    for slot in 0..32 {
        let base = VIRTIO_MMIO + u64::from(slot) * 0x1000;
        let [magic, version, kind] = [0, 4, 8].map(|at| u32::from_le_bytes(bench.load(base + at)));
        let expected = kind_in(slot).map_or([u32::MAX; 3], |kind| [0x7472_6976, 2, kind.number().into()]);
        assert_eq!([magic, version, kind], expected, "slot {slot}");
    }
    for slot in 1..32_u64 {
        assert_eq!(bench.load(ECAM + (slot << 15)), [0xff; 4], "a PCI function too");
    }
}

#[test]
fn slots_share_eight_interrupt_inputs() {
    for slot in [2_u8, 3, 10, 15, 23, 31] {
        let sources =
            [slot, slot.wrapping_sub(8), slot ^ 1].into_iter().filter(|slot| (1..32).contains(slot));
        for transport in [Transport::Pci, Transport::Mmio] {
            let devices = sources.clone().map(entropy).collect();
            let mut bench = Bench::assemble(Scripted::default(), &config(transport, 1), devices).unwrap();
            bench.machine.start().unwrap();
            let registers: Box<dyn Registers> = match transport {
                Transport::Pci => Box::new(bench.function(slot, Interrupts::Line(gsi(slot)))),
                Transport::Mmio => bench.registers(slot),
            };
            let mut driver = Driver::new(registers, bench.machine.ram.clone(), HEAP);
            driver.start_with(0);
            use_entropy(&mut driver);
        }
    }
}

#[test]
fn ram_goes_around_the_hole() {
    let gib = 1 << 30;
    let config = MachineConfig { memory: 4 * gib, ..config(Transport::Pci, 1) };
    let mut bench = Bench::assemble(Scripted::default(), &config, Vec::new()).unwrap();
    bench.machine.start().unwrap();
    let memory = bench.memory();
    for (address, is_ram) in [
        (0, true),
        (3 * gib - 1, true),
        (3 * gib, false),
        (0xf000_0000, false),
        (4 * gib - 1, false),
        (4 * gib, true),
        (5 * gib - 1, true),
        (5 * gib, false),
        (448 * gib, false),
    ] {
        memory.write(address, &[0x42]);
        assert_eq!(bench.load(address), [if is_ram { 0x42 } else { 0xff }], "{address:#x}");
    }
}

#[test]
fn ports_without_a_device_read_as_ones() {
    let mut bench = Bench::new(1, vec![]);
    bench.machine.start().unwrap();
    for port in [0, 0x80, 0x2f8, 0x3f7, 0x400, 0x5ff, 0x611, 0xcf7, 0xd00, 0xffff] {
        assert_eq!(bench.hand().port_read(port), [0xff], "{port:#x}");
    }
    assert_eq!(bench.hand().port_read::<1>(I8042_DATA), [0]);
}
