//! The loader of arm64 kernels, plain and packed.

use std::io::Write;

use flate2::{Compression, write::GzEncoder};
use hv_core::{
    boot::{
        BootError, Payload, PayloadFile,
        aarch64::{Target, load},
    },
    memory::{GuestRam, RamLayout, allocate},
};
use ruzstd::encoding::{CompressionLevel, compress_to_vec};

use crate::{
    Input, fdt, kernels,
    payload::{file, mutate},
    ram::{self, Snapshot},
};

const RAM: u64 = 2 << 30;
const SIZE: u64 = 1 << 20;

/// A valid Image with changes to its headers; packed in one of the ways, and then changed again; or the bytes as
/// they are behind the mark of a packing.
///
/// # Panics
/// The loader writes elsewhere than where kernel, device tree and initial RAM disk lie, or refuses in more than one line.
pub fn arm64_image(data: &[u8]) {
    let mut input = Input::new(data);
    let (initrd, command_line) = (input.flag(), usize::from(input.u8()) * 9);
    let kernel = match input.below(8) {
        0 => [&b"\x1f\x8b\x08"[..], input.bytes(data.len())].concat(),
        1 => [&b"\x28\xb5\x2f\xfd"[..], input.bytes(data.len())].concat(),
        kind => {
            let image = mutate(kernels::arm64_image(), &kernels::ARM64_FIELDS, &mut input);
            let packed = pack(kind, image);
            mutate(packed, &kernels::ZBOOT_FIELDS, &mut input)
        }
    };
    check_load(&kernel, initrd, command_line);
}

fn pack(kind: u64, image: Vec<u8>) -> Vec<u8> {
    match kind {
        2 => gzip(&image),
        3 => compress_to_vec(&*image, CompressionLevel::Fastest),
        4 => kernels::zboot("gzip", &gzip(&image)),
        5 => kernels::zboot("zstd22", &compress_to_vec(&*image, CompressionLevel::Fastest)),
        _ => image,
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packer = GzEncoder::new(Vec::new(), Compression::fast());
    packer.write_all(bytes).expect("memory");
    packer.finish().expect("memory")
}

fn check_load(kernel: &[u8], initrd: bool, command_line: usize) {
    let layout = RamLayout::new(SIZE, 0..RAM, 1 << 40).expect("a valid layout");
    let ram = allocate(&layout).expect("little RAM");
    let before = Snapshot::of(&ram);
    let archive = [&b"070701"[..], &[0x42; 5000]].concat();
    let payload = Payload {
        kernel: PayloadFile::kernel(file(kernel), "vmlinuz"),
        initrd: initrd.then(|| PayloadFile::initrd(file(&archive), "initrd.img")),
        command_line: "x".repeat(command_line),
    };
    let description = fdt::machine(RAM..RAM + SIZE);
    let target = Target { ram: &ram, description: &description, seed: &[7; 64] };
    match load(&payload, &target) {
        Ok(state) => {
            let tree = check_tree(&ram, state.x[0]);
            assert!((RAM..state.x[0]).contains(&state.pc), "first instruction at {:#x}", state.pc);
            let disk = (RAM + SIZE - 5006) / 4096 * 4096;
            let disk = disk..disk + if initrd { 5006 } else { 0 };
            assert!(ram::read(&ram, disk.start, archive.len()) == archive || disk.is_empty());
            before.assert_same(&ram, &[state.pc..tree.start, tree, disk], "a load");
        }
        Err(error) => {
            assert!(!error.to_string().contains('\n'), "{error}");
            assert!(!matches!(error, BootError::Ram(_)), "{error}: what has no RAM is found before");
        }
    }
}

/// Checks that a device tree lies at `address`, and says how far it reaches.
fn check_tree(ram: &GuestRam, address: u64) -> std::ops::Range<u64> {
    let size = fdt::check(&ram::read(ram, address, 8));
    assert!(address.is_multiple_of(8) && address >> 21 == (address + size - 1) >> 21, "{address:#x}");
    address..address + size
}
