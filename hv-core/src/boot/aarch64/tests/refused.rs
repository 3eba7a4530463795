//! Payloads that do not fit, are foreign or damaged: refused in one line, or harmless.

use proptest::prelude::*;

use super::*;
use crate::{boot::console::console_driver, virtio::Transport};

fn refusal(kernel: &[u8]) -> String {
    Machine::new(16 * MIB).load(&payload(kernel)).unwrap_err().to_string()
}

#[test]
fn command_lines_are_bounded_by_the_kernel() {
    let machine = Machine::new(16 * MIB);
    let mut payload = payload(&arm64_image());
    payload.command_line = "x".repeat(2047);
    machine.load(&payload).unwrap();
    payload.command_line.push('x');
    assert_eq!(
        machine.load(&payload).unwrap_err().to_string(),
        "the command line has 2048 bytes, this kernel takes at most 2047: shorten --append"
    );
}

#[test]
fn too_little_memory_names_the_need() {
    let line = |size, payload: &Payload| Machine::new(size).load(payload).unwrap_err().to_string();
    let need = |have, need| {
        format!("{have} MiB of memory are below this kernel's need: give it --memory {need}M or more")
    };
    let mut image = arm64_image();
    put(&mut image, 0x10, &(3 * MIB).to_le_bytes());
    for file in [&image, &gzip(&image)] {
        assert_eq!(line(3 * MIB, &payload(file)), need(3, 4));
        Machine::new(4 * MIB).load(&payload(file)).unwrap();
        assert_eq!(line(4 * MIB, &with_initrd(file, 2 << 20)), need(4, 6));
        Machine::new(6 * MIB).load(&with_initrd(file, 2 << 20)).unwrap();
    }
    for (text_offset, size) in [(0, u64::MAX), (u64::MAX, 64), (u64::MAX - 64, 64), (1 << 50, 1 << 50)] {
        put(&mut image, 8, &text_offset.to_le_bytes());
        put(&mut image, 0x10, &size.to_le_bytes());
        assert!(line(MIB, &payload(&image)).contains("below this kernel's need"), "{size:#x}");
    }
}

#[test]
fn foreign_kernels_are_called_by_name() {
    let mut x86_elf = testing::vmlinux();
    x86_elf[0x12] = 62;
    let mut arm64_elf = testing::vmlinux();
    arm64_elf[0x12] = 183;
    let mut big_endian = arm64_image();
    big_endian[0x18] |= 1;
    let mut old = arm64_image();
    put(&mut old, 0x10, &[0; 8]);
    let mut riscv = arm64_image();
    put(&mut riscv, 0x38, b"RSC\x05");
    let x86 = "is an x86_64 kernel and this machine is arm64: give an arm64 Image";
    for (image, words) in [
        (&b""[..], "is empty"),
        (b"hello\n", "is no kernel that is known here"),
        (&testing::bzimage(), x86),
        (&gzip(&testing::bzimage()), x86),
        (&x86_elf, "is an ELF file for x86_64 and this machine is arm64: give an arm64 Image"),
        (&zstd(&x86_elf), "is an ELF file for x86_64 and this machine is arm64"),
        (&arm64_elf, "is an ELF file: give the arm64 Image made of it"),
        (&riscv, "is a RISC-V kernel and this machine is arm64"),
        (&big_endian, "is a big-endian arm64 kernel"),
        (&gzip(&big_endian), "is a big-endian arm64 kernel"),
        (&old, "is an arm64 kernel older than 3.17"),
        (&zboot("lzma", b"x"), "is an EFI kernel packed by lzma, which is not known here: give one"),
        (&zboot("gzip", &gzip(b"hello")), "is no kernel that is known here"),
        (&gzip(&gzip(&arm64_image())), "is packed by gzip: unpack it"),
        (b"MZ", "is an EFI program and no kernel"),
        (b"\xfd7zXZ\0", "is packed by xz: unpack it"),
        (&gzip(b"070701"), "is a cpio archive: give it by --initrd"),
    ] {
        let line = refusal(image);
        assert!(line.starts_with("kernel vmlinuz: ") && line.contains(words), "{line}");
        assert!(!line.contains('\n') && line.contains(':'), "no cure: {line}");
    }
}

#[test]
fn truncated_kernels_are_refused() {
    let image = arm64_image();
    for file in [image.clone(), gzip(&image), zstd(&image), zboot("gzip", &gzip(&image))] {
        let whole = file.len();
        for size in [0x3e, 0x600, whole - 200].into_iter().filter(|size| *size < whole) {
            let line = refusal(&file[..size]);
            assert!(line.contains("truncated"), "{size}: {line}");
        }
    }
}

#[test]
fn a_kernel_that_unpacks_to_more_than_it_says_stays_in_its_room() {
    let mut image = arm64_image();
    image.resize(32 << 20, 0xee);
    let machine = Machine::new(MIB);
    let line = machine.load(&payload(&gzip(&image))).unwrap_err().to_string();
    assert!(line.contains("unpacks to more than its header says"), "{line}");
    let end = BASE + ARM64_SIZE;
    assert_eq!(machine.read(end, 0x1_0000), [0; 0x1_0000]);
}

#[test]
fn an_initrd_beyond_the_window_is_refused() {
    let kernel = arm64_image();
    let file = testing::file(b"070701");
    file.set_len(33 << 30).unwrap();
    let initrd = Some(PayloadFile::initrd(file, "initrd.img"));
    let payload = Payload { initrd, ..payload(&kernel) };
    let line = Machine::new(64 * GIB).load(&payload).unwrap_err().to_string();
    assert_eq!(
        line,
        "initrd initrd.img: has 33792 MiB and this kernel has room for 32767 MiB: give a smaller one"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_damaged_image_does_no_harm(
        flips in proptest::collection::vec((0..0x120_usize, any::<u8>()), 1..6),
        cut in 0..0x1_1000_usize,
        packing in 0..4,
        late in proptest::option::of((any::<prop::sample::Index>(), any::<u8>())),
    ) {
        let mut image = arm64_image();
        for (offset, byte) in flips {
            image[offset] = byte;
        }
        image.truncate(image.len() - cut);
        let mut file = match packing {
            0 => image,
            1 => gzip(&image),
            2 => zstd(&image),
            _ => zboot("gzip", &gzip(&image)),
        };
        if let Some((at, byte)) = late.filter(|_| !file.is_empty()) {
            let at = at.index(file.len());
            file[at] = byte;
        }
        let machine = Machine::new(4 * MIB);
        match machine.load(&with_initrd(&file, 5000)) {
            Ok(state) => prop_assert!((BASE..BASE + 4 * MIB).contains(&state.pc)),
            Err(error) => {
                prop_assert!(!error.to_string().contains('\n'));
                prop_assert!(!matches!(error, BootError::Ram(_)));
            }
        }
        console_driver(&testing::kernel(&file), Transport::Pci);
    }
}
