//! Tests of what is known as a kernel.

use super::*;
use crate::testing::{arm64_image, bzimage, gzip, zstd};

fn zboot(method: &str, machine: u16) -> Vec<u8> {
    let mut image = vec![0; 0x80];
    image[..8].copy_from_slice(b"MZ\0\0zimg");
    image[24..24 + method.len()].copy_from_slice(method.as_bytes());
    image[0x3c] = 0x40;
    image[0x40..0x44].copy_from_slice(b"PE\0\0");
    image[0x44..0x46].copy_from_slice(&machine.to_le_bytes());
    image
}

#[test]
fn kernels_are_told_apart() {
    let x86 = Image { architecture: Architecture::X86_64, release: Some(String::from("6.1.0-7-amd64")) };
    assert_eq!(identify(&bzimage("6.1.0-7-amd64")).unwrap(), x86);
    let arm = Image { architecture: Architecture::Aarch64, release: None };
    for image in [arm64_image(), gzip(&arm64_image()), zstd(&arm64_image()), zboot("zstd22", 0xaa64)] {
        assert_eq!(identify(&image).unwrap(), arm);
    }
    let mut elf = vec![0; 64];
    elf[..6].copy_from_slice(b"\x7fELF\x02\x01");
    elf[18] = 62;
    assert_eq!(identify(&elf).unwrap().architecture, Architecture::X86_64);
}

#[test]
fn a_hostile_release_is_not_believed() {
    for release in ["../../etc", "", "a/b", ".hidden"] {
        assert_eq!(identify(&bzimage(release)).unwrap().release, None, "{release}");
    }
}

#[test]
fn what_hv_cannot_boot_is_refused_with_its_reason() {
    let mut old = bzimage("2.6");
    old[0x236] = 0;
    let mut riscv = vec![0; 4096];
    riscv[0x38..0x3c].copy_from_slice(b"RSC\x05");
    for (image, says) in [
        (old, "without a 64-bit entry"),
        (riscv.clone(), "RISC-V"),
        (gzip(&riscv), "RISC-V"),
        (zboot("xzkern", 0xaa64), "packed by xzkern"),
        (zboot("gzip", 0x5064), "another architecture"),
        (b"MZ and so on".to_vec(), "EFI program"),
        (b"\x7fELF\x01".to_vec(), "ELF file"),
        (gzip(b"text"), "no kernel"),
        (Vec::new(), "no kernel"),
    ] {
        let error = identify(&image).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
}
