//! `Source`: standard input on its way to the command, no further ahead than the window allows.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use hv_agent_protocol::{HostMessage, MOST_DATA, Outgoing, WINDOW};
use rustix::io::{Errno, read};

use crate::detach_keys::Watch;

/// Standard input.
#[derive(Debug)]
pub(super) struct Source {
    /// Nothing once it has ended or nobody wants it.
    source: Option<OwnedFd>,
    /// Bytes that were sent and not taken.
    ahead: usize,
    /// Keys that are not for the command.
    keys: Option<Watch>,
    /// What follows those keys is the command's again.
    goes_on: bool,
}

impl Source {
    pub(super) fn new(source: Option<OwnedFd>) -> Self {
        Self { source, ahead: 0, keys: None, goes_on: false }
    }

    /// Looks for keys that are not for the command from now on. What follows them is nobody's unless it `goes_on`.
    pub(super) fn watch(&mut self, keys: Option<Watch>, goes_on: bool) {
        (self.keys, self.goes_on) = (keys, goes_on);
    }

    /// Bytes that may be on the way, besides those that are or will be.
    fn room(&self) -> usize {
        WINDOW.saturating_sub(self.ahead + self.keys.as_ref().map_or(0, Watch::held))
    }

    /// What is waited for, while there is room for what it gives.
    pub(super) fn wants(&self, outgoing: &Outgoing) -> Option<BorrowedFd<'_>> {
        let room = self.room() > 0 && outgoing.len() < MOST_DATA;
        self.source.as_ref().filter(|_| room).map(AsFd::as_fd)
    }

    /// Reads once. Whether the detach keys were among it.
    pub(super) fn read(&mut self, buffer: &mut [u8], outgoing: &mut Outgoing) -> io::Result<bool> {
        let Some(source) = &self.source else { return Ok(false) };
        let most = buffer.len().min(self.room());
        let room = buffer.get_mut(..most).unwrap_or_default();
        let count = match read(source, &mut *room) {
            Err(Errno::INTR | Errno::AGAIN) => return Ok(false),
            Ok(count) => count,
            // A terminal that hung up, a folder: there is nothing to be had from it.
            Err(_) => 0,
        };
        if count == 0 {
            self.source = None;
            let rest = self.keys.as_mut().map(Watch::rest).unwrap_or_default();
            self.send(&rest, outgoing)?;
            outgoing.push(&HostMessage::StdinEnd)?;
            return Ok(false);
        }
        let typed = room.get(..count).unwrap_or_default();
        let Some(keys) = &mut self.keys else {
            return self.send(typed, outgoing).map(|()| false);
        };
        let (mut passed, mut pressed, mut left) = (Vec::new(), false, typed);
        while let Some(rest) = keys.pass(left, &mut passed) {
            pressed = true;
            left = if self.goes_on { rest } else { &[] };
        }
        self.send(&passed, outgoing)?;
        Ok(pressed)
    }

    fn send(&mut self, bytes: &[u8], outgoing: &mut Outgoing) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.ahead += bytes.len();
        outgoing.push(&HostMessage::Stdin(bytes))
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
