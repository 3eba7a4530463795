//! `Cable`: the guest's card on an interface of vmnet; what to do with each of its answers.

use std::{
    io,
    time::{Duration, Instant},
};

use hv_core::{
    memory::GuestBuffer,
    net::{FrameHeader, NetBackend, Offloads, Received},
};

use super::status::Status;
use crate::{ethernet, readiness::tokens};

/// How long to wait for room, which vmnet does not tell of.
const FULL: Duration = Duration::from_micros(500);

/// Frames of a wrong length that are dropped before the guest's other work has its turn.
const MOST_DROPPED: usize = 64;

/// An interface of vmnet. Nothing blocks.
pub(super) trait Interface: Send {
    /// Bytes of the longest frame.
    fn longest(&self) -> usize;

    /// Whom to wake when frames are there, if anybody.
    fn wake(&self, waker: Option<mio::Waker>);

    /// Throws frames away that wait.
    fn discard(&mut self);

    /// Puts a frame into `buffer`, which has room for the longest, and says how long it is; `None` if there is none.
    fn read(&mut self, buffer: GuestBuffer<'_>) -> Result<Option<usize>, Status>;

    /// Takes a frame that is not longer than the longest; false if it has no room.
    fn write(&mut self, frame: GuestBuffer<'_>) -> Result<bool, Status>;
}

/// A guest's cable to vmnet.
#[derive(Debug)]
pub(super) struct Cable<I> {
    interface: I,
    is_started: bool,
    /// Whether frames may be there: they are told of once, and then read until there is none.
    has_frames: bool,
    /// When to try again, for room or for the frames behind wrong ones.
    again: Option<Instant>,
}

impl<I: Interface> Cable<I> {
    pub(super) fn new(interface: I) -> Self {
        Self { interface, is_started: false, has_frames: false, again: None }
    }
}

impl<I: Interface> NetBackend for Cable<I> {
    fn start(&mut self, _: Offloads, registry: &mio::Registry) -> io::Result<()> {
        self.interface.discard();
        self.interface.wake(Some(mio::Waker::new(registry, tokens::VMNET)?));
        // What came before the waker was there is told of no more.
        (self.is_started, self.has_frames) = (true, true);
        Ok(())
    }

    fn stop(&mut self, _: &mio::Registry) {
        self.interface.wake(None);
        (self.is_started, self.has_frames, self.again) = (false, false, None);
    }

    fn wake(&mut self, _: &mio::Events) {
        (self.has_frames, self.again) = (true, None);
    }

    fn send(&mut self, _: FrameHeader, frame: GuestBuffer<'_>) -> io::Result<bool> {
        let len = usize::try_from(frame.len()).unwrap_or(usize::MAX);
        if !(ethernet::HEADER..=self.interface.longest()).contains(&len) {
            return Ok(true);
        }
        match self.interface.write(frame) {
            Ok(true) => Ok(true),
            Ok(false) | Err(Status::BUFFER_EXHAUSTED) => {
                self.again = Some(Instant::now() + FULL);
                Ok(false)
            }
            // This frame alone is lost.
            Err(Status::INVALID_ARGUMENT | Status::PACKET_TOO_BIG) => Ok(true),
            Err(status) => Err(status.into()),
        }
    }

    fn next_len(&mut self) -> Option<usize> {
        self.has_frames.then(|| self.interface.longest())
    }

    fn receive(&mut self, buffer: GuestBuffer<'_>) -> io::Result<Option<Received>> {
        if !self.has_frames {
            return Ok(None);
        }
        for _ in 0..MOST_DROPPED {
            match self.interface.read(buffer) {
                Ok(Some(len)) if (ethernet::HEADER..=self.interface.longest()).contains(&len) => {
                    return Ok(Some(Received { header: FrameHeader::default(), len }));
                }
                Ok(Some(_)) => {}
                Ok(None) => {
                    self.has_frames = false;
                    return Ok(None);
                }
                Err(status) => {
                    // It is asked again when it tells of frames, and not in a circle.
                    self.has_frames = false;
                    return Err(status.into());
                }
            }
        }
        self.again = Some(Instant::now());
        Ok(None)
    }

    fn deadline(&self) -> Option<Instant> {
        self.again.filter(|_| self.is_started)
    }
}

#[cfg(test)]
mod tests;
