//! Frames: messages on a stream of bytes, in bounded memory.

use std::{
    error::Error,
    io::{self, ErrorKind, Read, Write},
};

use postcard::ser_flavors::Flavor;
use serde::{Deserialize, Serialize};

use crate::MOST_FRAME;

/// Bytes of the length before each frame.
const LENGTH: usize = 4;

/// How much may have been written before the rest moves to the front of its buffer.
const COMPACT: usize = 64 << 10;

/// Reads messages. It holds one frame of any allowed size, and never takes more memory.
#[derive(Debug)]
pub struct Reader<R> {
    source: R,
    buffer: Box<[u8]>,
    /// What was read and not yet given out.
    start: usize,
    end: usize,
}

impl<R: Read> Reader<R> {
    /// A reader of the messages in `source`.
    pub fn new(source: R) -> Self {
        let buffer = vec![0; LENGTH + MOST_FRAME].into_boxed_slice();
        Self { source, buffer, start: 0, end: 0 }
    }

    /// The next message; nothing at the end of the source.
    ///
    /// # Errors
    /// `InvalidData` if what came is no message: there is no going on then. `UnexpectedEof` if the source ends within a
    /// message. Otherwise the source's own, such as `WouldBlock`: nothing is lost, and a later call goes on.
    pub fn receive<'a, M: Deserialize<'a>>(&'a mut self) -> io::Result<Option<M>> {
        while !self.has_message()? {
            if !self.fill()? {
                return if self.start == self.end { Ok(None) } else { Err(ErrorKind::UnexpectedEof.into()) };
            }
        }
        self.next().map(Some)
    }

    /// Whether the next message is here already, so that [`receive`](Self::receive) does not read.
    pub fn has_message(&self) -> io::Result<bool> {
        let waiting = self.waiting();
        Ok(length(waiting)?.is_some_and(|length| waiting.len() - LENGTH >= length))
    }

    /// Reads once from the source what there is room for; `false` at its end.
    ///
    /// # Errors
    /// The source's own.
    pub fn fill(&mut self) -> io::Result<bool> {
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        let room = self.buffer.get_mut(self.end..).unwrap_or_default();
        if room.is_empty() {
            return Ok(true);
        }
        let count = loop {
            match self.source.read(room) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                count => break count?,
            }
        };
        self.end = self.buffer.len().min(self.end + count);
        Ok(count != 0)
    }

    /// What is read from.
    pub fn source(&self) -> &R {
        &self.source
    }

    fn waiting(&self) -> &[u8] {
        self.buffer.get(self.start..self.end).unwrap_or_default()
    }

    /// The message that [`has_message`](Self::has_message) found.
    fn next<'a, M: Deserialize<'a>>(&'a mut self) -> io::Result<M> {
        let length = length(self.waiting())?.unwrap_or(0);
        let body = self.start + LENGTH;
        self.start = self.end.min(body + length);
        let frame = self.buffer.get(body..body + length).unwrap_or_default();
        match postcard::take_from_bytes(frame).map_err(invalid)? {
            (message, []) => Ok(message),
            _ => Err(invalid("a message has bytes after its end")),
        }
    }
}

/// The length of the frame that `bytes` begin with, once it is known.
fn length(bytes: &[u8]) -> io::Result<Option<usize>> {
    let Some(length) = bytes.first_chunk() else { return Ok(None) };
    let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
    if length > MOST_FRAME {
        return Err(invalid(format!("a message of {length} bytes, but at most {MOST_FRAME} are allowed")));
    }
    Ok(Some(length))
}

/// Messages on their way out. Whoever adds to it looks at [`len`](Self::len) first, to bound it.
#[derive(Debug, Default)]
pub struct Outgoing {
    buffer: Vec<u8>,
    /// How many bytes of it are written.
    written: usize,
}

impl Outgoing {
    /// Adds a message.
    ///
    /// # Errors
    /// The message is longer than a frame may be; nothing was added.
    pub fn push(&mut self, message: &impl Serialize) -> io::Result<()> {
        let start = self.buffer.len();
        self.buffer.extend([0; LENGTH]);
        let pushed = self.push_after_length(message, start);
        if pushed.is_err() {
            self.buffer.truncate(start);
        }
        pushed
    }

    fn push_after_length(&mut self, message: &impl Serialize, start: usize) -> io::Result<()> {
        postcard::serialize_with_flavor(message, Appended(&mut self.buffer)).map_err(invalid)?;
        let length = self.buffer.len() - start - LENGTH;
        if length > MOST_FRAME {
            return Err(invalid(format!("it is {length} bytes long, but at most {MOST_FRAME} are allowed")));
        }
        let length = u32::try_from(length).map_err(invalid)?;
        if let Some(place) = self.buffer.get_mut(start..start + LENGTH) {
            place.copy_from_slice(&length.to_le_bytes());
        }
        Ok(())
    }

    /// How many bytes wait.
    pub fn len(&self) -> usize {
        self.buffer.len() - self.written
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Writes until all is written or the sink takes no more.
    ///
    /// # Errors
    /// The sink's own, such as `WouldBlock`; what was not written still waits.
    pub fn write_to(&mut self, mut sink: impl Write) -> io::Result<()> {
        while !self.is_empty() {
            match sink.write(self.buffer.get(self.written..).unwrap_or_default()) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => self.advance(count),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn advance(&mut self, count: usize) {
        self.written = self.buffer.len().min(self.written + count);
        if self.written == self.buffer.len() || self.written >= COMPACT {
            self.buffer.drain(..self.written);
            self.written = 0;
        }
    }
}

/// Serializes to the end of a vector.
struct Appended<'a>(&'a mut Vec<u8>);

impl Flavor for Appended<'_> {
    type Output = ();

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.push(byte);
        Ok(())
    }

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

pub(crate) fn invalid(reason: impl Into<Box<dyn Error + Send + Sync>>) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, reason)
}

#[cfg(test)]
mod tests;
