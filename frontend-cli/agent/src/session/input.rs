//! `Input`: the command's standard input, and what waits for it.

use std::{
    collections::VecDeque,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use hv_agent_protocol::{AgentMessage, Outgoing, WINDOW};
use rustix::io::{Errno, write};

/// The key that ends input on a terminal (^D).
const END_OF_FILE: u8 = 4;

/// Standard input from the host to the command.
#[derive(Debug)]
pub(super) struct Input {
    /// Nothing once the command or the host has closed it.
    sink: Option<OwnedFd>,
    terminal: bool,
    waiting: VecDeque<u8>,
    /// The host has sent the last byte.
    ended: bool,
    /// The last byte that was written.
    last: u8,
    /// Bytes that the host is to hear were taken.
    taken: u32,
    /// The host is to hear that the command takes no more.
    refused: bool,
}

impl Input {
    /// Input to `sink`, which does not block; `terminal` says whether it is one.
    pub(super) fn new(sink: Option<OwnedFd>, terminal: bool) -> Self {
        Self { sink, terminal, waiting: VecDeque::new(), ended: false, last: b'\n', taken: 0, refused: false }
    }

    /// Takes bytes from the host.
    pub(super) fn add(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.ended || self.waiting.len() + bytes.len() > WINDOW {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "more standard input than is allowed"));
        }
        if self.sink.is_some() {
            self.waiting.extend(bytes);
        } else {
            self.count(bytes.len());
        }
        Ok(())
    }

    /// No more bytes will come from the host.
    pub(super) fn end(&mut self) {
        if !self.ended && self.terminal {
            // A line that was begun needs the key twice: once to hand it over, once to be an end.
            let last = self.waiting.back().copied().unwrap_or(self.last);
            self.waiting.push_back(END_OF_FILE);
            if last != b'\n' && last != b'\r' {
                self.waiting.push_back(END_OF_FILE);
            }
        }
        self.ended = true;
    }

    /// What is waited for, while there is something to write.
    pub(super) fn wants(&self) -> Option<BorrowedFd<'_>> {
        self.sink.as_ref().filter(|_| !self.waiting.is_empty()).map(AsFd::as_fd)
    }

    /// Writes what the command takes now.
    pub(super) fn feed(&mut self) {
        while let Some(sink) = &self.sink
            && !self.waiting.is_empty()
        {
            let (bytes, _) = self.waiting.as_slices();
            match write(sink, bytes) {
                Ok(count) => {
                    self.last =
                        count.checked_sub(1).and_then(|at| bytes.get(at)).copied().unwrap_or(self.last);
                    self.waiting.drain(..count.min(self.waiting.len()));
                    self.count(count);
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                Err(_) => {
                    self.refused = !self.ended;
                    self.close();
                }
            }
        }
        if self.ended && !self.terminal {
            self.sink = None;
        }
    }

    /// Throws away what waits and what will come.
    pub(super) fn close(&mut self) {
        self.sink = None;
        self.count(self.waiting.len());
        self.waiting.clear();
    }

    /// Tells the host what was taken since it was told last.
    pub(super) fn tell(&mut self, outgoing: &mut Outgoing) -> io::Result<()> {
        let taken = std::mem::take(&mut self.taken);
        if taken != 0 {
            outgoing.push(&AgentMessage::StdinTaken(taken))?;
        }
        if std::mem::take(&mut self.refused) {
            outgoing.push(&AgentMessage::StdinClosed)?;
        }
        Ok(())
    }

    /// The keys that end a terminal's input count too; the host sends nothing after its end.
    fn count(&mut self, count: usize) {
        self.taken = self.taken.saturating_add(u32::try_from(count).unwrap_or(u32::MAX));
    }
}
