//! `Segment`: a run of guest RAM, as buffers are made of.

use vm_memory::Address;

use super::GuestAddress;

/// A run of guest RAM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Guest-physical address of its first byte.
    pub address: GuestAddress,
    /// Bytes.
    pub len: u32,
}

/// The parts of `segments`, which lie in RAM, that hold the bytes `skip..skip + take` of them all; none is empty.
pub fn parts(segments: &[Segment], mut skip: u32, mut take: u32) -> impl Iterator<Item = Segment> {
    let parts = segments.iter().map_while(move |segment| {
        if take == 0 {
            return None;
        }
        let skipped = skip.min(segment.len);
        skip -= skipped;
        let len = take.min(segment.len - skipped);
        take -= len;
        Some(Segment { address: segment.address.unchecked_add(skipped.into()), len })
    });
    parts.filter(|part| part.len > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segments(parts: &[(u64, u32)]) -> Vec<Segment> {
        parts.iter().map(|&(address, len)| Segment { address: GuestAddress(address), len }).collect()
    }

    fn addresses(segments: &[Segment]) -> Vec<u64> {
        segments.iter().flat_map(|part| part.address.0..part.address.0 + u64::from(part.len)).collect()
    }

    #[test]
    fn parts_hold_the_bytes_asked_for() {
        let all = segments(&[(0x100, 4), (0x900, 0), (0x200, 6), (0x300, 2)]);
        for (skip, take) in (0..14).flat_map(|skip| (0..14).map(move |take| (skip, take))) {
            let found: Vec<_> = parts(&all, skip, take).collect();
            let expected: Vec<_> =
                addresses(&all).into_iter().skip(skip as usize).take(take as usize).collect();
            assert_eq!(addresses(&found), expected, "{skip}, {take}");
            assert!(found.iter().all(|part| part.len > 0));
        }
    }
}
