//! What a frame says in its first bytes: addresses, and where its packet begins.

/// Bytes of destination, source and type.
pub(crate) const HEADER: usize = 14;

/// An Ethernet address.
pub(crate) type Mac = [u8; 6];

/// The type of IPv4.
pub(crate) const IPV4: u16 = 0x0800;
/// The type of IPv6.
pub(crate) const IPV6: u16 = 0x86dd;
/// The types of VLAN tags.
const TAGS: [u16; 2] = [0x8100, 0x88a8];

/// To whom a frame with `header` goes.
pub(crate) fn destination(header: &[u8; HEADER]) -> Mac {
    [header[0], header[1], header[2], header[3], header[4], header[5]]
}

/// Who sent a frame with `header`.
pub(crate) fn source(header: &[u8; HEADER]) -> Mac {
    [header[6], header[7], header[8], header[9], header[10], header[11]]
}

/// Whether `mac` is one card's address: neither broadcast nor multicast.
pub(crate) fn is_unicast(mac: Mac) -> bool {
    mac[0] & 1 == 0
}

/// The two bytes at `at`, if they are there.
pub(crate) fn word(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at.checked_add(2)?)?.try_into().ok()?))
}

/// Type and place of the packet in `frame`, behind up to two VLAN tags.
pub(crate) fn packet(frame: &[u8]) -> Option<(u16, usize)> {
    let mut at = HEADER;
    for _ in 0..3 {
        let kind = word(frame, at - 2)?;
        if !TAGS.contains(&kind) {
            return Some((kind, at));
        }
        at += 4;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_found_behind_tags() {
        let frame = |types: &[u16]| {
            let words: Vec<u8> = types.iter().flat_map(|word| word.to_be_bytes()).collect();
            [vec![0; 12], words].concat()
        };
        assert_eq!(packet(&frame(&[IPV4])), Some((IPV4, 14)));
        assert_eq!(packet(&frame(&[0x8100, 5, IPV6])), Some((IPV6, 18)));
        assert_eq!(packet(&frame(&[0x88a8, 5, 0x8100, 5, IPV6])), Some((IPV6, 22)));
        assert_eq!(packet(&frame(&[0x8100, 5])), None);
        assert_eq!(packet(&[0; 13]), None);
        assert_eq!(packet(&frame(&[0x8100; 9])), None);
    }
}
