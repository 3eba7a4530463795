//! Carries what is typed, or piped, to the guest.

use std::{collections::VecDeque, io, os::fd::AsFd, time::Duration};

use hv_core::devices::uart::UartInput;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::{Errno, read},
};

use crate::escape::{Escape, Key};

/// Typed bytes that wait for a guest that does not read. Beyond them keys are lost, except those for `hv`.
const TYPE_AHEAD: usize = 64 << 10;
/// How soon a guest that had no room is tried again while keys are watched for.
const RETRY: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

/// How long to wait for room before asking again whether another console has some.
const PATIENCE: Duration = Duration::from_millis(500);

/// A device that takes the guest's input.
pub(crate) trait GuestInput {
    /// Takes as many bytes as there is room for and says how many.
    fn send(&self, bytes: &[u8]) -> usize;
    /// Waits until there is room, or the time is over.
    fn wait_for_room(&self, timeout: Duration);
}

impl GuestInput for UartInput {
    fn send(&self, bytes: &[u8]) -> usize {
        Self::send(self, bytes)
    }

    fn wait_for_room(&self, timeout: Duration) {
        Self::wait_for_room(self, timeout);
    }
}

/// Carries bytes until the source ends or fails. All of them are the guest's.
pub(crate) fn carry(source: impl AsFd, guest: &impl GuestInput) -> io::Result<()> {
    let mut buffer = [0; 4096];
    loop {
        let mut bytes = match next(&source, &mut buffer)? {
            [] => return Ok(()),
            bytes => &*bytes,
        };
        while !bytes.is_empty() {
            let sent = guest.send(bytes);
            bytes = bytes.get(sent..).unwrap_or_default();
            if !bytes.is_empty() {
                guest.wait_for_room(PATIENCE);
            }
        }
    }
}

/// Carries keys until the source ends or fails, and tells `on_key` those that are not the guest's; they are heard
/// even while the guest takes nothing.
pub(crate) fn carry_keys(
    source: impl AsFd,
    guest: &impl GuestInput,
    mut on_key: impl FnMut(Key),
) -> io::Result<()> {
    let (mut buffer, mut escape, mut waiting) = ([0; 1024], Escape::default(), VecDeque::new());
    loop {
        let sent = guest.send(waiting.make_contiguous());
        waiting.drain(..sent.min(waiting.len()));
        let retry = (!waiting.is_empty()).then_some(&RETRY);
        if !wait(&source, retry)? {
            continue;
        }
        let keys = match next(&source, &mut buffer)? {
            [] => return Ok(()),
            keys => keys,
        };
        for byte in keys {
            match escape.next(*byte) {
                Key::Guest(byte) if waiting.len() < TYPE_AHEAD => waiting.push_back(byte),
                Key::Guest(_) | Key::Nothing => {}
                key => on_key(key),
            }
        }
    }
}

/// Reads what is there, or waits for it; nothing is the end. A descriptor that others made non-blocking is waited for.
fn next<'a>(source: &impl AsFd, buffer: &'a mut [u8]) -> io::Result<&'a mut [u8]> {
    loop {
        match read(source, &mut *buffer) {
            Ok(count) => return Ok(buffer.get_mut(..count).unwrap_or_default()),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                wait(source, None)?;
            }
            // A terminal that hung up, or whose foreground belongs to nobody's children.
            Err(Errno::IO) => return Ok(&mut []),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Waits until a read would not block; says whether that is so.
fn wait(source: &impl AsFd, timeout: Option<&Timespec>) -> io::Result<bool> {
    match poll(&mut [PollFd::new(source, PollFlags::IN)], timeout) {
        Ok(ready) => Ok(ready != 0),
        Err(Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests;
