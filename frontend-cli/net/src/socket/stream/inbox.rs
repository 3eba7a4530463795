//! `Inbox`: frames out of a stream, many at each read.

use std::io::{self, Read};

use hv_core::net::MAX_FRAME;

use crate::ethernet;

/// Bytes of a frame's length.
const HEAD: usize = 4;

/// Room for two of the longest frames, and for many usual ones.
const ROOM: usize = 2 * (HEAD + MAX_FRAME);

/// A length that no frame has: the stream means something else, and nothing after it can be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it sent a frame of {0} bytes, and frames have 14 to {MAX_FRAME}")]
pub struct BadLength(pub u32);

/// Bytes that came and are not given yet. There is room when no whole frame is there.
#[derive(Debug, Default)]
pub struct Inbox {
    /// Empty until the first read.
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl Inbox {
    /// The first whole frame, if it is there; it stays until [`consume`](Self::consume).
    ///
    /// # Errors
    /// What stands before it is no length of a frame.
    pub fn frame(&self) -> Result<Option<&[u8]>, BadLength> {
        let there = &self.bytes[self.start..self.end];
        let Some((head, rest)) = there.split_first_chunk::<HEAD>() else { return Ok(None) };
        let said = u32::from_be_bytes(*head);
        match usize::try_from(said) {
            Ok(len) if (ethernet::HEADER..=MAX_FRAME).contains(&len) => Ok(rest.get(..len)),
            _ => Err(BadLength(said)),
        }
    }

    /// Drops the first whole frame.
    pub fn consume(&mut self) {
        if let Ok(Some(frame)) = self.frame() {
            self.start += HEAD + frame.len();
        }
    }

    /// Reads once from `source`; says how many bytes came, 0 at its end.
    ///
    /// # Errors
    /// The source's.
    pub fn read_from(&mut self, mut source: impl Read) -> io::Result<usize> {
        if self.bytes.is_empty() {
            self.bytes = vec![0; ROOM];
        }
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.start > 0 && self.bytes.len() - self.start < HEAD + MAX_FRAME {
            // The rest of the longest frame must fit behind its beginning.
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        let read = source.read(&mut self.bytes[self.end..])?;
        self.end += read;
        Ok(read)
    }

    /// Drops everything.
    pub fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_whole_in_any_pieces() {
        let frames: Vec<Vec<u8>> =
            [14, 1514, MAX_FRAME, 15, MAX_FRAME, MAX_FRAME, 60].iter().map(|len| vec![7; *len]).collect();
        let stream: Vec<u8> = frames
            .iter()
            .flat_map(|frame| [&u32::try_from(frame.len()).unwrap().to_be_bytes(), &frame[..]].concat())
            .collect();
        for most in [1, 3, 1000, 65_553, 1 << 20] {
            let (mut inbox, mut rest, mut got) = (Inbox::default(), &stream[..], Vec::new());
            loop {
                while let Some(frame) = inbox.frame().unwrap() {
                    got.push(frame.to_vec());
                    inbox.consume();
                }
                if inbox.read_from((&mut rest).take(most)).unwrap() == 0 {
                    break;
                }
            }
            assert!(got == frames, "{most}");
        }
    }

    #[test]
    fn lengths_that_no_frame_has_are_refused() {
        for len in [0, 13, u32::try_from(MAX_FRAME).unwrap() + 1, u32::MAX] {
            let mut inbox = Inbox::default();
            inbox.read_from(&len.to_be_bytes()[..]).unwrap();
            assert_eq!(inbox.frame(), Err(BadLength(len)));
            inbox.consume();
            assert_eq!(inbox.frame(), Err(BadLength(len)));
        }
    }
}
