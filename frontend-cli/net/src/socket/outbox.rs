//! `Outbox`: bytes of whole frames on their way into a stream that takes some at a time.

use std::io;

use hv_core::memory::GuestBuffer;

/// Bytes that may wait before they must go: small frames are joined, so that many cost one system call.
const JOINED: usize = 64 << 10;

/// What a stream still has to take, in order.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    bytes: Vec<u8>,
    sent: usize,
}

impl Outbox {
    pub(super) fn is_empty(&self) -> bool {
        self.sent == self.bytes.len()
    }

    /// Whether `more` bytes can join what waits.
    pub(super) fn has_room(&self, more: usize) -> bool {
        self.bytes.len().saturating_add(more) <= JOINED
    }

    /// Adds `head` and `frame` without the first `skip` bytes of both.
    pub(super) fn push(&mut self, head: &[u8], frame: GuestBuffer<'_>, skip: usize) -> io::Result<()> {
        let start = self.bytes.len();
        let len = usize::try_from(frame.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        self.bytes.extend_from_slice(head);
        self.bytes.resize(start + head.len() + len, 0);
        let copied = frame.copy_to(&mut self.bytes[start + head.len()..]);
        if copied.is_err() {
            self.bytes.truncate(start);
        } else {
            self.bytes.drain(start..start + skip.min(head.len() + len));
        }
        copied.map(drop)
    }

    /// Gives to `write` until all is gone; false if it blocks before.
    pub(super) fn flush(&mut self, mut write: impl io::Write) -> io::Result<bool> {
        while !self.is_empty() {
            match write.write(&self.bytes[self.sent..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(sent) => self.sent += sent,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if super::is_full(&error) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        self.clear();
        Ok(true)
    }

    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.sent = 0;
    }
}
