//! `Segment`: the fields of a TCP header that we look at, and the maximum segment size in its options.

/// FIN.
pub(crate) const FIN: u8 = 1;
/// SYN.
pub(crate) const SYN: u8 = 2;
/// RST.
pub(crate) const RST: u8 = 4;
/// ACK.
pub(crate) const ACK: u8 = 16;

/// Bytes of a TCP header without options.
const HEADER: usize = 20;

/// What an end takes that does not say (RFC 9293, 3.7.1).
const DEFAULT_MAXIMUM: u16 = 536;

/// The fields of a TCP header that we look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) source_port: u16,
    pub(crate) destination_port: u16,
    pub(crate) sequence: u32,
    /// The sequence number that is expected next, of the other direction.
    pub(crate) acknowledgment: u32,
    pub(crate) flags: u8,
    /// The window, not scaled.
    pub(crate) window: u16,
    /// Bytes of the header with its options.
    pub(crate) header_len: usize,
    /// Bytes of payload.
    pub(crate) len: usize,
}

impl Segment {
    /// The header at the start of `transport`, if it is whole.
    pub(crate) fn parse(transport: &[u8]) -> Option<Self> {
        let header: &[u8; HEADER] = transport.first_chunk()?;
        let header_len = usize::from(header[12] >> 4) * 4;
        Some(Self {
            source_port: u16::from_be_bytes([header[0], header[1]]),
            destination_port: u16::from_be_bytes([header[2], header[3]]),
            sequence: u32::from_be_bytes([header[4], header[5], header[6], header[7]]),
            acknowledgment: u32::from_be_bytes([header[8], header[9], header[10], header[11]]),
            flags: header[13],
            window: u16::from_be_bytes([header[14], header[15]]),
            header_len,
            len: if header_len < HEADER { return None } else { transport.len().checked_sub(header_len)? },
        })
    }

    pub(crate) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Whether it tells what arrived and how much more may come, and nothing else.
    pub(crate) fn acknowledges_only(&self) -> bool {
        self.flags & (SYN | ACK | RST | FIN) == ACK && self.len == 0
    }

    /// Whether it begins a connection.
    pub(crate) fn opens(&self) -> bool {
        self.flags & (SYN | ACK | RST | FIN) == SYN
    }
}

/// The maximum segment size that the header at the start of `transport` tells. `replace` may put another there; the
/// checksum is not changed.
pub(crate) fn maximum_segment_size(transport: &mut [u8], replace: impl FnOnce(u16) -> u16) -> u16 {
    let Some(segment) = Segment::parse(transport) else { return DEFAULT_MAXIMUM };
    let mut options = &mut transport[HEADER..segment.header_len];
    loop {
        match options {
            [2, 4, high, low, ..] => {
                let told = u16::from_be_bytes([*high, *low]);
                [*high, *low] = replace(told).to_be_bytes();
                return told;
            }
            // No operation.
            [1, rest @ ..] => options = rest,
            // The end, or options that are none.
            [] | [0, ..] | [_] => return DEFAULT_MAXIMUM,
            [_, len, ..] => match usize::from(*len) {
                len @ 2.. if len <= options.len() => options = &mut options[len..],
                _ => return DEFAULT_MAXIMUM,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(options: &[u8]) -> Vec<u8> {
        let len = u8::try_from((HEADER + options.len()) / 4).unwrap();
        let mut header =
            vec![0x12, 0x34, 0, 80, 0, 0, 0, 9, 0, 0, 0, 0, len << 4, SYN, 0xff, 0xff, 0, 0, 0, 0];
        header.extend(options);
        header
    }

    #[test]
    fn fields_are_where_the_rfc_has_them() {
        let mut bytes = header(&[1, 1, 1, 0]);
        bytes.extend(b"abc");
        let segment = Segment::parse(&bytes).unwrap();
        assert_eq!((segment.source_port, segment.destination_port, segment.sequence), (0x1234, 80, 9));
        assert_eq!((segment.header_len, segment.len, segment.opens()), (24, 3, true));
        for cut in 0..24 {
            assert_eq!(Segment::parse(&bytes[..cut]), None);
        }
        bytes[12] = 0x40;
        assert_eq!(Segment::parse(&bytes), None);
    }

    #[test]
    fn maximum_is_found_among_options_and_replaced() {
        let mut bytes = header(&[1, 3, 3, 7, 2, 4, 5, 0xb4]);
        assert_eq!(maximum_segment_size(&mut bytes, |_| 60_000), 1460);
        assert_eq!(maximum_segment_size(&mut bytes, |told| told), 60_000);
    }

    #[test]
    fn broken_options_are_as_none() {
        for options in [[3, 0, 2, 4], [3, 9, 2, 4], [0, 2, 4, 1], [1, 1, 1, 2], [1, 2, 4, 5]] {
            assert_eq!(maximum_segment_size(&mut header(&options), |_| 1), DEFAULT_MAXIMUM);
        }
    }
}
