//! Payloads that do not fit, are foreign or damaged: refused in one line, or harmless.

use proptest::prelude::*;

use super::*;
use crate::{
    boot::{console::console_driver, testing::SETUP_SIZE},
    virtio::Transport,
};

fn refusal(kernel: &[u8]) -> String {
    Machine::new(16 * MIB).load(&payload(kernel), None).unwrap_err().to_string()
}

#[test]
fn command_lines_are_bounded_by_the_kernel() {
    let machine = Machine::new(16 * MIB);
    for kernel in [testing::bzimage(), testing::vmlinux()] {
        let mut payload = payload(&kernel);
        payload.command_line = "x".repeat(2047);
        machine.load(&payload, None).unwrap();
        payload.command_line.push('x');
        assert_eq!(
            machine.load(&payload, None).unwrap_err().to_string(),
            "the command line has 2048 bytes, this kernel takes at most 2047: shorten --append"
        );
    }
}

#[test]
fn too_little_memory_names_the_need() {
    let line = |size, payload: &Payload| Machine::new(size).load(payload, None).unwrap_err().to_string();
    let need = |have, need| {
        format!("{have} MiB of memory are below this kernel's need: give it --memory {need}M or more")
    };
    // Preferred address 2 MiB, 1 MiB needed from there on.
    assert_eq!(line(MIB, &payload(&testing::bzimage())), need(1, 3));
    assert_eq!(line(MIB, &payload(&testing::vmlinux())), need(1, 2));
    let large = with_initrd(&testing::bzimage(), 2 << 20);
    assert_eq!(line(4 * MIB, &large), need(4, 5));
    Machine::new(5 * MIB).load(&large, None).unwrap();
}

#[test]
fn an_initrd_stays_below_what_its_kernel_reaches() {
    let mut image = testing::bzimage();
    testing::put(&mut image, 0x22c, &0x3f_ffff_u32.to_le_bytes());
    let machine = Machine::new(16 * MIB);
    machine.load(&with_initrd(&image, 5000), None).unwrap();
    assert_eq!(machine.u32(0x7218), 0x3f_e000);
    let line = machine.load(&with_initrd(&image, 2 << 20), None).unwrap_err().to_string();
    assert_eq!(line, "initrd initrd.img: has 2 MiB and this kernel has room for 1 MiB: give a smaller one");
}

#[test]
fn an_initrd_that_is_none_is_refused() {
    let initrd = Some(testing::initrd(b"\x7fELF"));
    let payload = Payload { initrd, ..payload(&testing::bzimage()) };
    let line = Machine::new(16 * MIB).load(&payload, None).unwrap_err().to_string();
    assert!(line.starts_with("initrd initrd.img: is no initial RAM disk: "), "{line}");
}

#[test]
fn foreign_kernels_are_called_by_name() {
    let mut arm64 = vec![0; 64];
    testing::put(&mut arm64, 0, b"MZ");
    testing::put(&mut arm64, 0x38, b"ARM\x64");
    let mut arm64_elf = testing::vmlinux();
    arm64_elf[0x12] = 183;
    let mut object = testing::vmlinux();
    object[0x10] = 1;
    let mut no_64_bit = testing::bzimage();
    no_64_bit[0x236] = 0;
    for (image, words) in [
        (&b""[..], "is empty"),
        (b"hello\n", "is no kernel that is known here"),
        (&arm64, "is an arm64 kernel and this machine is x86_64: give an x86_64 bzImage"),
        (&testing::gzip(&arm64), "is an arm64 kernel and this machine is x86_64"),
        (&testing::zstd(&testing::arm64_image()), "is an arm64 kernel and this machine is x86_64"),
        (&testing::zboot("gzip", &testing::gzip(&arm64)), "is an arm64 kernel and this machine is x86_64"),
        (&testing::zboot("lzma", b"x"), "is a packed EFI kernel of another architecture"),
        (&testing::gzip(&testing::bzimage()), "is packed by gzip: unpack it"),
        (&arm64_elf, "is an ELF file for arm64"),
        (&object, "is an ELF object or kernel module"),
        (&no_64_bit, "has no 64-bit entry (boot protocol 2.15)"),
        (b"MZ", "is an EFI program and no kernel"),
        (b"\x1f\x8b\x08", "is packed by gzip"),
        (b"\x28\xb5\x2f\xfd", "is packed by zstd"),
        (b"070701", "is a cpio archive"),
    ] {
        let line = refusal(image);
        assert!(line.starts_with("kernel vmlinuz: ") && line.contains(words), "{line}");
        assert!(!line.contains('\n') && line.matches(": ").count() >= 2, "no cure: {line}");
    }
}

#[test]
fn truncated_kernels_are_refused() {
    for image in [testing::bzimage(), testing::vmlinux()] {
        let whole = image.len();
        for size in [0x206, 0x250, SETUP_SIZE, whole - 16].into_iter().filter(|size| *size < whole) {
            assert!(
                refusal(&image[..size]).contains("is a truncated "),
                "{size}: {}",
                refusal(&image[..size])
            );
        }
    }
}

#[test]
fn segments_must_not_overlap_nor_lie_low() {
    let elf = |a: (u64, u64), b: (u64, u64)| {
        let segment = |(address, size): (u64, u64)| testing::load(address, vec![1; 0x100], size);
        refusal(&testing::elf(a.0, &[segment(a), segment(b)]))
    };
    assert!(elf((0x10_0000, 0x1001), (0x10_1000, 0x100)).contains("has overlapping segments at 0x101000"));
    assert!(elf((0x10_0000, 0x1000), (0x7000, 0x100)).contains("has a segment at 0x7000, below 1 MiB"));
    assert!(elf((0x10_0000, 0x1000), (u64::MAX - 5, 0x100)).contains("is a damaged ELF file"));
    assert!(
        elf((0x10_0000, 0x1000), (1 << 62, 0x100)).contains("MiB of memory are below this kernel's need")
    );
    assert!(elf((0x10_0000, 0x10), (0x20_0000, 0x100)).contains("is a damaged ELF file"));
}

/// Loads `image` into a guest with a hole; whatever it says, a load ends, and a state points into RAM.
fn load_anything(image: &[u8]) -> Result<(), TestCaseError> {
    let layout = RamLayout::new(8 * MIB, 4 * MIB..64 * MIB, GIB).unwrap();
    let machine = Machine { ram: allocate(&layout).unwrap(), layout };
    for protocol in [None, Some(Protocol::Linux64), Some(Protocol::Pvh)] {
        match machine.load(&with_initrd(image, 5000), protocol) {
            Ok(state) => prop_assert!((KERNEL_FLOOR..4 * MIB).contains(&state.rip)),
            Err(error) => prop_assert!(!error.to_string().contains('\n')),
        }
        // Nothing but the kernel and its papers: not the video hole, not the RAM behind the hole.
        prop_assert!(machine.read(0xa_0000, 0x6_0000).iter().all(|byte| *byte == 0));
        prop_assert!(machine.read(64 * MIB, 4 << 20).iter().all(|byte| *byte == 0));
    }
    console_driver(&testing::kernel(image), Transport::Pci);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_damaged_bzimage_does_no_harm(
        flips in proptest::collection::vec((0x1f1..0x270_usize, any::<u8>()), 1..6),
        size in 0..=SETUP_SIZE + PACKED,
        whole in any::<bool>(),
    ) {
        let mut image = testing::bzimage();
        for (offset, byte) in flips {
            image[offset] = byte;
        }
        load_anything(if whole { &image } else { &image[..size] })?;
    }

    #[test]
    fn a_damaged_elf_kernel_does_no_harm(
        flips in proptest::collection::vec((4..0xe8_usize, any::<u8>()), 1..6),
        tail in proptest::collection::vec((0..80_usize, any::<u8>()), 0..4),
        cut in 0..5000_usize,
    ) {
        let mut image = testing::vmlinux();
        let size = image.len();
        for (offset, byte) in flips {
            image[offset] = byte;
        }
        for (offset, byte) in tail {
            image[size - 1 - offset] = byte;
        }
        load_anything(&image)?;
        load_anything(&image[..size - cut])?;
    }
}
