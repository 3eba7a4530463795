//! Tests of packed streams.

use super::*;
use crate::testing::{gzip, xz, zstd};

fn all(bytes: &[u8]) -> Result<Vec<u8>> {
    Ok(read_all(unpacked(bytes)?, 1 << 20)?)
}

#[test]
fn each_packing_is_undone_also_in_several_pieces() {
    let text = b"some text that repeats, some text that repeats".repeat(100);
    for packed in [text.clone(), gzip(&text), xz(&text), zstd(&text)] {
        assert_eq!(all(&packed).unwrap(), text);
    }
    for pack in [gzip, xz, zstd] {
        assert_eq!(all(&[pack(b"one"), pack(b"two")].concat()).unwrap(), b"onetwo");
    }
    assert!(all(&[]).unwrap().is_empty());
}

#[test]
fn damage_and_truncation_are_errors() {
    let text: Vec<u8> =
        (0..5000_u32).flat_map(|number| number.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    for pack in [gzip, xz, zstd] {
        let packed = pack(&text);
        assert!(all(&packed[..packed.len() - 1]).is_err());
        let mut damaged = packed.clone();
        damaged[packed.len() / 2] ^= 1;
        assert!(all(&damaged).is_err());
    }
}

#[test]
fn what_is_too_large_is_refused() {
    let zeroes = vec![0; (1 << 20) + 1];
    for pack in [gzip, xz, zstd] {
        assert!(all(&pack(&zeroes)).is_err());
    }
}

#[test]
fn an_xz_stream_may_not_ask_for_gigabytes() {
    let mut options = lzma_rust2::XzOptions::with_preset(0);
    options.lzma_options.dict_size = 1 << 29;
    let writer = lzma_rust2::XzWriter::new(Vec::new(), options).unwrap();
    let mut writer = writer;
    io::Write::write_all(&mut writer, b"x").unwrap();
    assert!(all(&writer.finish().unwrap()).is_err());
}
