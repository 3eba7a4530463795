//! `Sink`: one of the command's outputs on its way out of this process.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use hv_agent_protocol::Stream;
use rustix::{
    io::{Errno, write},
    pipe::PIPE_BUF,
};

/// An output, and what of one message waits for it.
#[derive(Debug)]
pub(super) struct Sink {
    stream: Stream,
    /// Nothing once its reader has left; what comes then is lost.
    sink: Option<OwnedFd>,
    waiting: Vec<u8>,
    written: usize,
}

impl Sink {
    pub(super) fn new(stream: Stream, sink: Option<OwnedFd>) -> Self {
        Self { stream, sink, waiting: Vec::new(), written: 0 }
    }

    pub(super) fn stream(&self) -> Stream {
        self.stream
    }

    /// Takes nothing more.
    pub(super) fn close(&mut self) {
        self.sink = None;
        self.clear();
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Takes the bytes of one message; nothing waits.
    pub(super) fn add(&mut self, bytes: &[u8]) {
        if self.sink.is_some() {
            self.waiting.extend(bytes);
        }
    }

    /// What is waited for, while there is something to write.
    pub(super) fn wants(&self) -> Option<BorrowedFd<'_>> {
        self.sink.as_ref().filter(|_| !self.is_empty()).map(AsFd::as_fd)
    }

    /// Writes as much as surely does not block: others may share the descriptor, so it is not made non-blocking. Whether its
    /// reader has just left.
    pub(super) fn write(&mut self) -> bool {
        let Some(sink) = &self.sink else { return false };
        let waiting = self.waiting.get(self.written..).unwrap_or_default();
        match write(sink, waiting.get(..PIPE_BUF).unwrap_or(waiting)) {
            Ok(count) => {
                self.written += count;
                if self.written >= self.waiting.len() {
                    self.clear();
                }
                false
            }
            Err(Errno::INTR | Errno::AGAIN) => false,
            Err(_) => {
                self.close();
                true
            }
        }
    }

    fn clear(&mut self) {
        self.waiting.clear();
        self.written = 0;
    }
}
