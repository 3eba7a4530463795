//! What the program at the other end of a network socket says.

use std::io::Read;

use hv_core::net::MAX_FRAME;
use hv_net::socket::stream::{BadLength, Inbox};

use crate::Input;

/// A stream of frames behind their lengths, or of anything, read in pieces of any size.
///
/// Frames come whole, in order, however the stream is cut; one with a length that no frame has is the last thing read.
///
/// # Panics
/// The reader breaks one of these.
pub fn net_stream(data: &[u8]) {
    let mut input = Input::new(data);
    let most = 1 + u64::from(input.u16() >> input.below(16));
    let stream = if input.flag() { data.to_vec() } else { frames(&mut input) };
    let (expected, end) = cut(&stream);

    let (mut inbox, mut rest, mut found) = (Inbox::default(), &stream[..], Vec::new());
    let found_end = loop {
        match inbox.frame() {
            Ok(Some(frame)) => {
                found.push(frame.to_vec());
                inbox.consume();
            }
            Ok(None) => {
                let read = inbox.read_from((&mut rest).take(most)).expect("memory can be read");
                if read == 0 {
                    assert!(rest.is_empty(), "no room for a frame that is not whole");
                    break None;
                }
            }
            Err(bad) => break Some(bad),
        }
    };
    assert!(found == expected, "{} frames, not {}", found.len(), expected.len());
    assert_eq!(found_end, end);
    inbox.clear();
    assert_eq!(inbox.frame(), Ok(None));
}

/// Frames of chosen lengths, a few of them wrong, and the last perhaps cut.
fn frames(input: &mut Input<'_>) -> Vec<u8> {
    let mut stream = Vec::new();
    while !input.is_empty() && stream.len() < 1 << 20 {
        let len = match input.u8() {
            0 => input.u32(),
            1 => u32::try_from(MAX_FRAME).expect("a small number") - u32::from(input.u8() & 3),
            2..8 => u32::from(input.u16()),
            few => 14 + u32::from(few),
        };
        stream.extend(len.to_be_bytes());
        let there = usize::try_from(len).map_or(0, |len| len.min(MAX_FRAME));
        stream.resize(stream.len() + there, input.u8());
    }
    stream.truncate(stream.len() - usize::from(input.u8() & 7).min(stream.len()));
    stream
}

/// The frames in `stream`, and the length that ends it.
fn cut(mut stream: &[u8]) -> (Vec<Vec<u8>>, Option<BadLength>) {
    let mut frames = Vec::new();
    while let Some((&head, rest)) = stream.split_first_chunk() {
        let said = u32::from_be_bytes(head);
        let len = usize::try_from(said).unwrap_or(usize::MAX);
        if !(14..=MAX_FRAME).contains(&len) {
            return (frames, Some(BadLength(said)));
        }
        if rest.len() < len {
            break;
        }
        frames.push(rest[..len].to_vec());
        stream = &rest[len..];
    }
    (frames, None)
}
