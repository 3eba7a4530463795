//! Small kernels, loaded as a guest finds them.

mod refused;

use ::fdt::Fdt;
use vm_memory::Bytes;

use super::*;
use crate::{
    boot::testing::{self, ARM64_SIZE, arm64_image, gzip, put, zboot, zstd},
    memory::{RamLayout, allocate},
    tables::fdt::testing::description,
};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const BASE: u64 = 2 * GIB;
const SEED: Seed = [0x5e; 64];

struct Machine {
    description: Description,
    ram: GuestRam,
}

impl Machine {
    fn new(size: u64) -> Self {
        let layout = RamLayout::new(size, 0..BASE, 1 << 40).unwrap();
        let description = Description { ram: BASE..BASE + size, ..description() };
        Self { ram: allocate(&layout).unwrap(), description }
    }

    fn load(&self, payload: &Payload) -> Result<CpuState, BootError> {
        load(payload, &Target { ram: &self.ram, description: &self.description, seed: &SEED })
    }

    fn read(&self, address: u64, size: usize) -> Vec<u8> {
        let mut bytes = vec![0; size];
        self.ram.read_slice(&mut bytes, GuestAddress(address)).unwrap();
        bytes
    }

    /// The initial RAM disk as the device tree at `address` has it.
    fn initrd(&self, address: u64) -> Option<Range<u64>> {
        let tree = self.read(address, fdt::MOST);
        let tree = Fdt::new(&tree).unwrap();
        let chosen = tree.find_node("/chosen").unwrap();
        let word = |name| Some(u64::from_be_bytes(chosen.property(name)?.value.try_into().unwrap()));
        Some(word("linux,initrd-start")?..word("linux,initrd-end")?)
    }
}

fn payload(kernel: &[u8]) -> Payload {
    Payload { kernel: testing::kernel(kernel), initrd: None, command_line: "console=ttyAMA0".to_owned() }
}

fn with_initrd(kernel: &[u8], size: usize) -> Payload {
    let mut initrd = testing::pattern(size);
    initrd[..6].copy_from_slice(b"070701");
    Payload { initrd: Some(testing::initrd(&initrd)), ..payload(kernel) }
}

#[test]
fn an_image_starts_at_its_first_byte_with_the_device_tree_in_x0() {
    let machine = Machine::new(16 * MIB);
    let image = arm64_image();
    let state = machine.load(&with_initrd(&image, 5000)).unwrap();
    assert_eq!((state.pc, state.pstate), (BASE, 0x3c5));
    assert_eq!((state.x[0], state.x[1..4].to_vec()), (BASE + ARM64_SIZE, vec![0; 3]));
    assert!(machine.read(BASE, image.len()) == image);
    let initrd = machine.initrd(state.x[0]).unwrap();
    assert_eq!(initrd, BASE + 16 * MIB - 8192..BASE + 16 * MIB - 8192 + 5000);
    assert_eq!(machine.read(initrd.start, 6), b"070701");
    assert_eq!(machine.read(initrd.start + 6, 4994), testing::pattern(5000)[6..]);
}

#[test]
fn packed_kernels_are_loaded_as_unpacked_ones() {
    let image = arm64_image();
    let (gzip, zstd) = (gzip(&image), zstd(&image));
    for file in [&gzip, &zstd, &zboot("gzip", &gzip), &zboot("zstd22", &zstd)] {
        let machine = Machine::new(16 * MIB);
        let state = machine.load(&payload(file)).unwrap();
        assert_eq!((state.pc, state.x[0]), (BASE, BASE + ARM64_SIZE));
        assert!(machine.read(BASE, image.len()) == image);
        assert_eq!(machine.initrd(state.x[0]), None);
    }
}

#[test]
fn a_text_offset_moves_the_kernel() {
    let mut image = arm64_image();
    put(&mut image, 8, &0x8_0000_u64.to_le_bytes());
    put(&mut image, 0x10, &0x4_0001_u64.to_le_bytes());
    let machine = Machine::new(16 * MIB);
    let state = machine.load(&payload(&image)).unwrap();
    assert_eq!((state.pc, state.x[0]), (BASE + 0x8_0000, BASE + 0xd_0000));
    assert!(machine.read(state.pc, image.len()) == image);
}

#[test]
fn a_device_tree_crosses_no_2_mib() {
    for size in [2 * MIB - 0x1000, 2 * MIB - 0x1_0000, 2 * MIB - 0x1_0001, 2 * MIB, 3 * MIB + 5] {
        let mut image = arm64_image();
        put(&mut image, 0x10, &size.to_le_bytes());
        let machine = Machine::new(16 * MIB);
        let tree = machine.load(&payload(&image)).unwrap().x[0];
        assert!(tree >= BASE + size && tree.is_multiple_of(8));
        let length = Fdt::new(&machine.read(tree, fdt::MOST)).unwrap().total_size() as u64;
        assert_eq!(tree / (2 * MIB), (tree + length - 1) / (2 * MIB), "{tree:#x}");
    }
}

#[test]
fn a_signature_behind_the_kernel_is_no_part_of_it() {
    let mut image = arm64_image();
    image.resize(usize::try_from(ARM64_SIZE).unwrap() + 100, 0x77);
    let machine = Machine::new(16 * MIB);
    let tree = machine.load(&payload(&image)).unwrap().x[0];
    assert_eq!(tree, BASE + ARM64_SIZE);
    assert_eq!(machine.read(tree, 4), [0xd0, 0x0d, 0xfe, 0xed]);
}

#[test]
fn an_initrd_lies_within_32_gib_of_the_kernel() {
    let machine = Machine::new(40 * GIB);
    let state = machine.load(&with_initrd(&arm64_image(), 4096)).unwrap();
    let initrd = machine.initrd(state.x[0]).unwrap();
    assert_eq!(initrd, BASE + 32 * GIB - 4096..BASE + 32 * GIB);
}

#[test]
fn a_second_load_is_like_the_first() {
    let machine = Machine::new(16 * MIB);
    let payload = with_initrd(&zstd(&arm64_image()), 5000);
    let first = (machine.load(&payload).unwrap(), machine.read(BASE, 16 << 20));
    for address in [BASE, BASE + ARM64_SIZE, BASE + 16 * MIB - 8192] {
        machine.ram.write_slice(&[0xdd; 5000], GuestAddress(address)).unwrap();
    }
    assert_eq!(machine.load(&payload).unwrap(), first.0);
    let tree = usize::try_from(ARM64_SIZE).unwrap();
    let written = |index: &usize| !(tree..tree + 5000).contains(index);
    let after = machine.read(BASE, 16 << 20);
    let differ = |index: &usize| first.1[*index] != after[*index];
    assert_eq!((0..16 << 20).filter(written).find(differ), None);
    assert_eq!(after[tree..tree + 1000], first.1[tree..tree + 1000]);
}
