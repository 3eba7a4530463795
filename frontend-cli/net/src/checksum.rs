//! The Internet checksum (RFC 1071), of parts.

use std::net::IpAddr;

/// A one's complement sum of 16-bit words; each part but the last has an even number of bytes.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sum(u64);

impl Sum {
    /// The pseudo-header of `protocol` (RFC 9293, 3.1; RFC 8200, 8.1), for `len` bytes of header and payload.
    pub(crate) fn pseudo_header(source: IpAddr, destination: IpAddr, protocol: u8, len: usize) -> Self {
        let len = u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes();
        Self::default().address(source).address(destination).add(&[0, protocol]).add(&len)
    }

    fn address(self, address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => self.add(&address.octets()),
            IpAddr::V6(address) => self.add(&address.octets()),
        }
    }

    /// With `bytes` too.
    pub(crate) fn add(self, bytes: &[u8]) -> Self {
        let (words, rest) = bytes.as_chunks::<4>();
        // Words in the host's order: the sum is the same but for the order of its own bytes (RFC 1071, 2.B).
        let mut sum: u64 = words.iter().map(|word| u64::from(u32::from_ne_bytes(*word))).sum();
        let mut last = [0; 4];
        last[..rest.len()].copy_from_slice(rest);
        sum += u64::from(u32::from_ne_bytes(last));
        // Folded to 32 bits and a carry, so that no number of parts overflows.
        Self(self.0 + (sum & 0xffff_ffff) + (sum >> 32))
    }

    /// The sum, folded, as it stands where the receiver completes it.
    pub(crate) fn partial(self) -> [u8; 2] {
        let mut sum = self.0;
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        u16::try_from(sum).unwrap_or(0).to_ne_bytes()
    }

    /// The checksum.
    pub(crate) fn complete(self) -> [u8; 2] {
        self.partial().map(|byte| !byte)
    }

    /// Whether the sum over bytes with their checksum is what it must be.
    pub(crate) fn is_right(self) -> bool {
        self.partial() == [0xff, 0xff]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sum_is_that_of_the_rfc() {
        // RFC 1071, 3: the sum is ddf2.
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(Sum::default().add(&bytes).partial(), [0xdd, 0xf2]);
        assert_eq!(Sum::default().add(&bytes[..2]).add(&bytes[2..]).partial(), [0xdd, 0xf2]);
        assert_eq!(Sum::default().add(&bytes).complete(), [0x22, 0x0d]);
        let whole: Vec<u8> = bytes.into_iter().chain([0x22, 0x0d]).collect();
        assert!(Sum::default().add(&whole).is_right());
    }

    #[test]
    fn an_odd_byte_counts_as_the_upper_half_of_a_word() {
        assert_eq!(Sum::default().add(&[1, 2, 3]).partial(), [4, 2]);
        assert_eq!(Sum::default().add(&[0xff; 65535]).add(&[]).partial(), [0xff, 0]);
    }
}
