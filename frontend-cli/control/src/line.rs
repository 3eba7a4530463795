//! Lines of a bounded length from a stream that later may be something else than lines.

use std::io::{self, Read};

use crate::protocol::LINE_LIMIT;

/// Reads lines; what it read beyond them is given back.
#[derive(Debug)]
pub struct Lines<R> {
    source: R,
    /// Read, but not yet a line that was given out.
    waiting: Vec<u8>,
}

/// A line is longer than [`LINE_LIMIT`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the line is longer than {LINE_LIMIT} bytes")]
pub struct TooLong;

impl<R: Read> Lines<R> {
    /// Reads from `source`.
    pub fn new(source: R) -> Self {
        Self { source, waiting: Vec::new() }
    }

    /// The next line without its newline; nothing when the source has ended. A last line without a newline is none.
    ///
    /// # Errors
    /// The source fails, or the line is [too long](TooLong) (`InvalidData`).
    pub fn next_line(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut looked_at = 0;
        loop {
            if let Some(at) = self.waiting.iter().skip(looked_at).position(|byte| *byte == b'\n') {
                let rest = self.waiting.split_off(looked_at + at + 1);
                let mut line = std::mem::replace(&mut self.waiting, rest);
                line.pop();
                return Ok(Some(line));
            }
            looked_at = self.waiting.len();
            if looked_at >= LINE_LIMIT {
                return Err(io::Error::new(io::ErrorKind::InvalidData, TooLong));
            }
            let mut buffer = [0; 4096];
            let room = buffer.len().min(LINE_LIMIT - looked_at);
            let count = match self.source.read(&mut buffer[..room]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                count => count?,
            };
            if count == 0 {
                return Ok(None);
            }
            self.waiting.extend_from_slice(&buffer[..count]);
        }
    }

    /// The source, and what was read of it beyond the last line.
    pub fn into_parts(self) -> (R, Vec<u8>) {
        (self.source, self.waiting)
    }

    /// The source.
    pub fn source(&self) -> &R {
        &self.source
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_what_comes_after_them() {
        let mut lines = Lines::new(&b"one\n\ntwo\nrest"[..]);
        assert_eq!(lines.next_line().unwrap().unwrap(), b"one");
        assert_eq!(lines.next_line().unwrap().unwrap(), b"");
        assert_eq!(lines.next_line().unwrap().unwrap(), b"two");
        let (rest, waiting) = lines.into_parts();
        assert_eq!((rest, waiting), (&b""[..], b"rest".to_vec()));
    }

    #[test]
    fn half_a_line_is_none() {
        assert_eq!(Lines::new(&b"half"[..]).next_line().unwrap(), None);
    }

    #[test]
    fn a_line_without_end_is_refused_at_the_limit() {
        let mut lines = Lines::new(io::repeat(b'x'));
        assert_eq!(lines.next_line().unwrap_err().kind(), io::ErrorKind::InvalidData);
        assert_eq!(lines.into_parts().1.len(), LINE_LIMIT);
    }
}
