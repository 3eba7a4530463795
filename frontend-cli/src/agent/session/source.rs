//! `Source`: standard input on its way to the command, no further ahead than the window allows.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use hv_agent_protocol::{HostMessage, MOST_DATA, Outgoing, WINDOW};
use rustix::io::{Errno, read};

/// Standard input.
#[derive(Debug)]
pub(super) struct Source {
    /// Nothing once it has ended or nobody wants it.
    source: Option<OwnedFd>,
    /// Bytes that were sent and not taken.
    ahead: usize,
}

impl Source {
    pub(super) fn new(source: Option<OwnedFd>) -> Self {
        Self { source, ahead: 0 }
    }

    /// What is waited for, while there is room for what it gives.
    pub(super) fn wants(&self, outgoing: &Outgoing) -> Option<BorrowedFd<'_>> {
        let room = self.ahead < WINDOW && outgoing.len() < MOST_DATA;
        self.source.as_ref().filter(|_| room).map(AsFd::as_fd)
    }

    /// Reads once.
    pub(super) fn read(&mut self, buffer: &mut [u8], outgoing: &mut Outgoing) -> io::Result<()> {
        let Some(source) = &self.source else { return Ok(()) };
        let most = buffer.len().min(WINDOW.saturating_sub(self.ahead));
        let room = buffer.get_mut(..most).unwrap_or_default();
        let count = match read(source, &mut *room) {
            Err(Errno::INTR | Errno::AGAIN) => return Ok(()),
            Ok(count) => count,
            // A terminal that hung up, a folder: there is nothing to be had from it.
            Err(_) => 0,
        };
        if count == 0 {
            self.source = None;
            return outgoing.push(&HostMessage::StdinEnd);
        }
        self.ahead += count;
        outgoing.push(&HostMessage::Stdin(room.get(..count).unwrap_or_default()))
    }

    /// The command took that many bytes.
    pub(super) fn note_taken(&mut self, count: u32) {
        self.ahead = self.ahead.saturating_sub(usize::try_from(count).unwrap_or(usize::MAX));
    }

    /// The command takes no more.
    pub(super) fn close(&mut self) {
        self.source = None;
    }
}
