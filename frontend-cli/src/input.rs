//! Carries what is typed, or piped, to the guest.

use std::{collections::VecDeque, io, os::fd::AsFd, thread, time::Duration};

use hv_core::{
    chardev::{ConsoleMerge, Input, Port},
    devices::uart16550::UartInput,
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::{Errno, read},
};

use crate::escape::{Escape, Key};

/// Typed bytes that wait for a guest that does not read. Beyond them keys are lost, except those for `hv`.
const TYPE_AHEAD: usize = 64 << 10;
/// How soon a guest that had no room is tried again while keys are watched for.
const RETRY: Duration = Duration::from_millis(50);

/// A device that takes the guest's input.
pub(crate) trait GuestInput {
    /// Takes as many bytes as there is room for and says how many. Never blocks.
    fn offer(&self, bytes: &[u8]) -> usize;
    /// Takes all bytes, waiting for the guest; false if it will never take more.
    fn feed(&self, bytes: &[u8]) -> bool;
}

/// The input of a guest with two consoles of which only it knows the one it listens to: the one that it last wrote
/// something other than kernel messages to. Until then all input waits.
#[derive(Debug)]
pub(crate) struct MergedInput {
    pub(crate) merge: ConsoleMerge,
    pub(crate) uart: UartInput,
    pub(crate) virtio: Input,
}

impl MergedInput {
    fn active(&self) -> Option<&dyn GuestInput> {
        self.merge.active_port().map(|port| match port {
            Port::Uart => &self.uart as &dyn GuestInput,
            Port::Virtio => &self.virtio,
        })
    }
}

impl GuestInput for MergedInput {
    fn offer(&self, bytes: &[u8]) -> usize {
        self.active().map_or(0, |input| input.offer(bytes))
    }

    fn feed(&self, bytes: &[u8]) -> bool {
        loop {
            match self.active() {
                Some(input) => return input.feed(bytes),
                None => thread::sleep(RETRY),
            }
        }
    }
}

impl GuestInput for Input {
    fn offer(&self, bytes: &[u8]) -> usize {
        Self::offer(self, bytes)
    }

    fn feed(&self, bytes: &[u8]) -> bool {
        Self::feed(self, bytes)
    }
}

impl GuestInput for UartInput {
    fn offer(&self, bytes: &[u8]) -> usize {
        self.send(bytes)
    }

    fn feed(&self, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            bytes = bytes.get(self.send(bytes)..).unwrap_or_default();
            if !bytes.is_empty() {
                self.wait_for_room(Duration::from_secs(3600));
            }
        }
        true
    }
}

/// Carries bytes until the source ends or fails. All of them are the guest's.
pub(crate) fn carry(source: impl AsFd, guest: &impl GuestInput) -> io::Result<()> {
    let mut buffer = [0; 4096];
    loop {
        match next(&source, &mut buffer)? {
            [] => return Ok(()),
            bytes if guest.feed(bytes) => {}
            _ => return Ok(()),
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
        let sent = guest.offer(waiting.make_contiguous());
        waiting.drain(..sent.min(waiting.len()));
        let retry = (!waiting.is_empty()).then_some(RETRY);
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
fn wait(source: &impl AsFd, timeout: Option<Duration>) -> io::Result<bool> {
    let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
    match poll(&mut [PollFd::new(source, PollFlags::IN)], timeout.as_ref()) {
        Ok(ready) => Ok(ready != 0),
        Err(Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests;
