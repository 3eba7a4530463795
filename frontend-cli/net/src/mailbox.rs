//! `Mailbox`: the frame of the next datagram, read ahead so that its length is known.

use std::{io, time::Instant};

use hv_core::{
    memory::GuestBuffer,
    net::{FrameHeader, MAX_FRAME, Received},
};

/// Bytes that may stand before the frame.
pub(crate) const MOST_HEAD: usize = 256;

/// Datagrams that are no frames, dropped one after the other before the guest's other work has its turn.
const MOST_DROPPED: usize = 64;

/// The frame that came last, and whether more may be there.
#[derive(Debug)]
pub(crate) struct Mailbox {
    /// Empty until the first datagram; one byte longer than any that is right.
    bytes: Vec<u8>,
    /// Where in `bytes` the frame lies.
    frame: Option<(usize, usize)>,
    is_readable: bool,
    /// Datagrams wait that were not looked at.
    is_tired: bool,
}

impl Default for Mailbox {
    fn default() -> Self {
        Self { bytes: Vec::new(), frame: None, is_readable: true, is_tired: false }
    }
}

impl Mailbox {
    /// The socket became readable.
    pub(crate) fn may_have_more(&mut self) {
        self.is_readable = true;
    }

    /// Calls `receive` until there is a frame, or nothing to read; says how long the frame is. `begin` says where in
    /// a datagram the frame begins, if it is one.
    pub(crate) fn fill(
        &mut self,
        mut receive: impl FnMut(&mut [u8]) -> io::Result<usize>,
        mut begin: impl FnMut(&[u8]) -> Option<usize>,
    ) -> io::Result<Option<usize>> {
        if let Some((start, end)) = self.frame {
            return Ok(Some(end - start));
        }
        self.is_tired = false;
        if !self.is_readable {
            return Ok(None);
        }
        if self.bytes.is_empty() {
            self.bytes = vec![0; MOST_HEAD + MAX_FRAME + 1];
        }
        for _ in 0..MOST_DROPPED {
            match receive(&mut self.bytes) {
                Ok(end) => {
                    if let Some(start) = begin(&self.bytes[..end]) {
                        self.frame = Some((start, end));
                        return Ok(Some(end - start));
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.is_readable = false;
                    return Ok(None);
                }
                Err(error) => return Err(error),
            }
        }
        self.is_tired = true;
        Ok(None)
    }

    /// Puts the frame into `buffer`, if there is one.
    pub(crate) fn give(&mut self, buffer: GuestBuffer<'_>) -> io::Result<Option<Received>> {
        let Some((start, end)) = self.frame.take() else { return Ok(None) };
        let len = buffer.copy_from(&self.bytes[start..end])?;
        Ok(Some(Received { header: FrameHeader::default(), len }))
    }

    /// When to look again though nothing becomes readable.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.is_tired.then(Instant::now)
    }
}
