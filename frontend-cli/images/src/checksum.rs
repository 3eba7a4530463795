//! CRC-32C as Linux's file systems keep it: the bare register, begun with a seed and never inverted at the end.

/// What a checksum begins with where nothing came before.
pub(crate) const START: u32 = !0;

/// The register after `bytes`, which follow those that brought it to `seed`.
pub(crate) fn crc32c(seed: u32, bytes: &[u8]) -> u32 {
    !crc32c::crc32c_append(!seed, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_check_value_of_the_catalogue_not_inverted() {
        assert_eq!(crc32c(START, b"123456789"), !0xe306_9283);
        assert_eq!(crc32c(crc32c(START, b"1234"), b"56789"), !0xe306_9283);
    }
}
