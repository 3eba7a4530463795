//! Datagrams of other guests' processes on a private segment.

use hv_net::fuzzing::SegmentMembers;

use crate::Input;

/// Datagrams in a row: a name behind its length, then a frame, or anything.
///
/// A name never is a path, frames begin within the datagram, and an address that was heard of belongs to who said so last.
///
/// # Panics
/// One of these is not so.
pub fn net_segment(data: &[u8]) {
    let mut input = Input::new(data);
    let mut members = SegmentMembers::default();
    while !input.is_empty() {
        let mut datagram = Vec::new();
        if input.flag() {
            let name = input.bytes(data.len() % 8);
            datagram.push(u8::try_from(name.len()).expect("few bytes") + u8::from(input.u8() == 0));
            datagram.extend(name);
        }
        let rest = usize::from(input.u8());
        datagram.extend(input.bytes(rest));
        let Some((name, at)) = members.hear(&datagram) else { continue };
        assert!(!name.is_empty() && name.len() <= 64 && !name.starts_with('.'));
        assert!(name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)), "{name:?}");
        assert_eq!(at, 1 + name.len());
        let source: [u8; 6] = datagram[at + 6..at + 12].try_into().expect("six bytes");
        let is_of_one = source[0] & 1 == 0;
        assert_eq!(members.find(source), is_of_one.then_some(name));
    }
}
