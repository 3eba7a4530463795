//! Packed files, whole and damaged.

use super::*;
use crate::boot::testing::{gzip, kernel, pattern, zboot, zstd};

fn unpack(file: &[u8]) -> Result<Vec<u8>, String> {
    let packed = find(file)?.expect("a packed file");
    let file = kernel(file);
    let mut unpacked = Unpacked::open(&file, &packed).map_err(|e| e.to_string())?;
    let (mut bytes, mut chunk) = (Vec::new(), vec![0; 1000]);
    loop {
        let count = unpacked.fill(&mut chunk).map_err(|e| e.to_string())?;
        bytes.extend(&chunk[..count]);
        if count < chunk.len() {
            return Ok(bytes);
        }
    }
}

#[test]
fn each_packing_gives_back_what_was_packed() {
    let bytes = pattern(300_000);
    let (gzip, zstd) = (gzip(&bytes), zstd(&bytes));
    for file in [&gzip, &zstd, &zboot("gzip", &gzip), &zboot("zstd", &zstd), &zboot("zstd22", &zstd)] {
        assert!(unpack(file).unwrap() == bytes);
        assert!(head(&kernel(file), &find(file).unwrap().unwrap()).unwrap() == bytes[..4096]);
    }
}

#[test]
fn other_packings_are_named() {
    assert_eq!(find(b"MZ\0\0"), Ok(None));
    assert_eq!(find(&pattern(100)), Ok(None));
    assert_eq!(find(b""), Ok(None));
    assert_eq!(find(&zboot("xzkern", &[])), Err("xzkern".to_owned()));
    assert_eq!(find(&zboot("a\nb", &[])), Err("a\\nb".to_owned()));
    assert_eq!(find(b"MZ\0\0zimg"), Err(String::new()));
}

#[test]
fn damage_and_missing_ends_are_seen() {
    let bytes = pattern(300_000);
    for file in [gzip(&bytes), zstd(&bytes)] {
        for size in [5, 20, file.len() / 2, file.len() - 1] {
            let line = unpack(&file[..size]).unwrap_err();
            assert!(line.contains("cannot be unpacked, its "), "{size}: {line}");
        }
        // The last bytes are a checksum.
        let mut wrong = file.clone();
        let last = wrong.len() - if file.starts_with(GZIP) { 8 } else { 1 };
        wrong[last] ^= 1;
        assert!(unpack(&wrong).unwrap_err().contains("cannot be unpacked, its "));
    }
    let file = zboot("gzip", &gzip(&bytes));
    assert_eq!(
        unpack(&file[..file.len() - 101]).unwrap_err(),
        "kernel vmlinuz: is a truncated EFI kernel: fetch or build it again"
    );
}

#[test]
fn a_window_beyond_what_kernels_use_is_refused() {
    // A frame with a window descriptor of 2^30 bytes (RFC 8878, 3.1.1.1.2), and an empty last block.
    let frame = |descriptor: u8| [ZSTD, &[0, descriptor, 1, 0, 0]].concat();
    assert_eq!(unpack(&frame(17 << 3)), Ok(Vec::new()), "128 MiB");
    assert!(unpack(&frame(20 << 3)).unwrap_err().contains("cannot be unpacked, its zstd data"));
}

#[test]
fn a_small_file_of_much_takes_little_memory() {
    let zeros = gzip(&vec![0; 64 << 20]);
    assert!(zeros.len() < 1 << 20);
    let file = kernel(&zeros);
    let mut unpacked = Unpacked::open(&file, &find(&zeros).unwrap().unwrap()).unwrap();
    let mut chunk = vec![1; 100];
    assert_eq!(unpacked.fill(&mut chunk).unwrap(), 100);
    assert_eq!(chunk, [0; 100]);
}
