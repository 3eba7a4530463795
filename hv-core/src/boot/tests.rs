//! What every payload file goes through.

use super::*;
use crate::memory::{RamLayout, allocate};

fn ram() -> GuestRam {
    allocate(&RamLayout::new(1 << 20, 3 << 30..4 << 30, 1 << 40).unwrap()).unwrap()
}

#[test]
fn files_that_cannot_be_are_refused_in_one_line() {
    let empty = testing::kernel(b"").size().unwrap_err().to_string();
    assert_eq!(empty, "kernel vmlinuz: is empty: fetch or build it again");
    let directory = PayloadFile::initrd(File::open("/").unwrap(), "/");
    let line = directory.size().unwrap_err().to_string();
    assert_eq!(line, "initrd /: is not a regular file: give the file itself");
}

#[test]
fn a_file_is_copied_to_ram_from_any_offset_any_number_of_times() {
    let (file, ram) = (testing::kernel(&testing::pattern(300)), ram());
    for _ in 0..2 {
        zero(&ram, 0x1000..0x2000).unwrap();
        file.copy_to(&ram, 0x1001, 100, 200).unwrap();
        let mut bytes = [0xff; 202];
        ram.read_slice(&mut bytes, GuestAddress(0x1000)).unwrap();
        assert_eq!((bytes[0], bytes[201]), (0, 0));
        assert_eq!(bytes[1..201], testing::pattern(300)[100..]);
    }
}

#[test]
fn a_file_that_shrank_is_an_error() {
    let line = testing::kernel(&[1; 10]).copy_to(&ram(), 0, 5, 6).unwrap_err().to_string();
    assert!(line.starts_with("kernel vmlinuz: cannot be loaded at 0x0: "), "{line}");
}

#[test]
fn zeros_cover_exactly_the_range() {
    let ram = ram();
    ram.write_slice(&[1; 10_000], GuestAddress(0)).unwrap();
    zero(&ram, 1..9999).unwrap();
    let mut bytes = [9; 10_000];
    ram.read_slice(&mut bytes, GuestAddress(0)).unwrap();
    assert_eq!((bytes[0], bytes[9999]), (1, 1));
    assert!(bytes[1..9999].iter().all(|byte| *byte == 0));
}
