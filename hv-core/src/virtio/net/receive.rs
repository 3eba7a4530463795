//! Frames for the guest.

use std::{collections::VecDeque, time::Duration};

use super::{
    common::Common,
    lengths::{HEADER, SHORTEST_FRAME},
    scratch::Scratch,
    transmit::BATCH,
};
use crate::{
    memory::{GuestBuffer, Segment, parts},
    net::{FrameHeader, MAX_FRAME, MAX_PLAIN_FRAME, NetBackend, Offloads, Received},
    virtio::{Chain, QueueError, Virtqueue},
};

/// The driver's queue of buffers for frames.
pub(super) struct Receive {
    queue: Virtqueue,
    /// A frame may lie in several chains (5.1.6.3.2).
    mergeable: bool,
    /// The most bytes of a frame that is not to be cut.
    longest_plain: Option<u32>,
    /// Chains taken and not used yet, in order.
    held: VecDeque<Chain>,
    /// The most chains that the driver had here at once.
    most: usize,
    /// Waits for more chains, by the doorbell.
    waits: bool,
    /// When the frames that passed are paid for.
    due: Option<Duration>,
    /// Chains given back since the driver was told.
    untold: u32,
    segments: Vec<Segment>,
    scratch: Option<Scratch>,
}

/// Whether a backend that says that a frame has at most `len` bytes does not know how many.
fn is_unknown(len: usize) -> bool {
    len >= MAX_FRAME || len == MAX_PLAIN_FRAME
}

/// `header` without what a driver must not see that leaves checksums to no one (5.1.6.4.1).
fn sound(header: FrameHeader, accepted: Offloads) -> FrameHeader {
    let known = FrameHeader::NEEDS_CHECKSUM | FrameHeader::CHECKSUM_IS_VALID;
    let flags = if accepted.contains(Offloads::CHECKSUM) { header.flags & known } else { 0 };
    FrameHeader { flags, ..header }
}

/// Whether the driver's chains hold a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Room {
    /// Yes: so many of the held ones.
    In(usize),
    /// Not now.
    Short,
    /// Perhaps never: a driver that gives buffers back when half of them are used has no more to give.
    Never,
}

impl Receive {
    pub(super) fn new(queue: Virtqueue, mergeable: bool, longest_plain: Option<u32>) -> Self {
        Self {
            queue,
            mergeable,
            longest_plain,
            held: VecDeque::new(),
            most: 0,
            // As the driver finds it: the first look takes it back.
            waits: true,
            due: None,
            untold: 0,
            segments: Vec::new(),
            scratch: None,
        }
    }

    pub(super) fn queue(&self) -> &Virtqueue {
        &self.queue
    }

    /// When the next frame may pass.
    pub(super) fn due(&self) -> Option<Duration> {
        self.due
    }

    /// Whether buffers came for which a frame waits.
    pub(super) fn has_what_it_waits_for(&self) -> bool {
        self.waits && self.queue.has_available()
    }

    /// Receives frames until there are none, none of them has room or tokens, or `left` are through.
    pub(super) fn run(
        &mut self,
        backend: &mut dyn NetBackend,
        common: &mut Common,
        left: &mut u32,
    ) -> Result<(), QueueError> {
        if common.until(self.due).is_some() {
            return Ok(());
        }
        self.due = None;
        if !common.shared.is_plugged() {
            return Ok(());
        }
        if self.waits {
            self.waits = false;
            self.queue.disable_doorbell()?;
        }
        self.most = self.most.max(self.held.len() + usize::from(self.queue.available()));
        while *left > 0 && self.due.is_none() {
            if !self.receive(backend, common)? {
                break;
            }
            *left -= 1;
        }
        self.tell()
    }

    /// Receives a frame; false if there is none, or no room for it.
    fn receive(&mut self, backend: &mut dyn NetBackend, common: &mut Common) -> Result<bool, QueueError> {
        if let Some(frame) = self.scratch.as_ref().and_then(|scratch| scratch.frame) {
            return self.unpack(frame, common);
        }
        let Some(len) = backend.next_len() else { return Ok(false) };
        match self.room(len.min(MAX_FRAME))? {
            Room::In(count) => {
                self.gather(count);
                let buffer = GuestBuffer { ram: &common.ram, segments: &self.segments };
                let received = backend.receive(buffer);
                let Some(frame) = common.look_at(received) else { return Ok(false) };
                self.deliver(frame, common)?;
                Ok(true)
            }
            Room::Short if !is_unknown(len) || self.held.is_empty() => Ok(false),
            // The frame may be shorter than the backend can tell.
            Room::Short | Room::Never => {
                if self.scratch.is_none() {
                    self.scratch = Some(Scratch::new().map_err(|reason| self.queue.error(reason))?);
                }
                let Some(scratch) = &mut self.scratch else { return Ok(false) };
                scratch.frame = common.look_at(backend.receive(scratch.buffer()));
                Ok(scratch.frame.is_some())
            }
        }
    }

    /// Brings the frame in the scratch memory to the driver; false if there is no room for it now.
    fn unpack(&mut self, frame: Received, common: &mut Common) -> Result<bool, QueueError> {
        let room = self.room(frame.len)?;
        if room == Room::Short {
            return Ok(false);
        }
        let Some(scratch) = &mut self.scratch else { return Ok(false) };
        scratch.frame = None;
        if let Room::In(count) = room {
            let bytes = scratch.bytes(frame.len);
            self.gather(count);
            let buffer = GuestBuffer { ram: &common.ram, segments: &self.segments };
            let copied = bytes.and_then(|bytes| buffer.copy_from(&bytes));
            copied.map_err(|error| self.queue.error(error.to_string()))?;
            self.deliver(frame, common)?;
        } else {
            let len = frame.len;
            common.drop_frame(format_args!(
                "a frame of {len} bytes does not fit the driver's buffers; it is lost"
            ));
        }
        Ok(true)
    }

    /// Takes chains until they hold a header and a frame of `len` bytes.
    fn room(&mut self, len: usize) -> Result<Room, QueueError> {
        let needed = u64::from(HEADER) + len as u64;
        let (mut room, mut count) = (0, 0);
        while room < needed {
            if count == 1 && !self.mergeable {
                return Ok(Room::Never);
            }
            if count == self.held.len() && !self.take()? {
                let most_are_here = count > 0 && 2 * count >= self.most;
                return Ok(if most_are_here { Room::Never } else { Room::Short });
            }
            room += self.held.get(count).map_or(0, |chain| u64::from(chain.writable_len()));
            count += 1;
        }
        Ok(Room::In(count))
    }

    /// Takes one more chain; if there is none, asks for the doorbell and says so.
    fn take(&mut self) -> Result<bool, QueueError> {
        let mut chain = self.queue.pop()?;
        if chain.is_none() && self.queue.enable_doorbell()? {
            self.queue.disable_doorbell()?;
            chain = self.queue.pop()?;
        }
        let Some(chain) = chain else {
            self.waits = true;
            return Ok(false);
        };
        let len = chain.writable_len();
        if len < HEADER {
            return Err(self.queue.error(format!("buffer of {len} bytes has no room for a frame's header")));
        }
        if self.held.len() >= usize::from(self.queue.size()) {
            return Err(self.queue.error("more chains than the queue has descriptors"));
        }
        self.held.push_back(chain);
        self.most = self.most.max(self.held.len());
        Ok(true)
    }

    /// Lists what the first `count` chains have behind the header.
    fn gather(&mut self, count: usize) {
        self.segments.clear();
        let mut skip = HEADER;
        for chain in self.held.iter().take(count) {
            let writable = chain.writable();
            self.segments.extend(parts(writable, skip, chain.writable_len().saturating_sub(skip)));
            skip = 0;
        }
    }

    /// Gives the chains in which `frame` lies to the driver, or drops it if it is none that the driver may see.
    fn deliver(&mut self, frame: Received, common: &mut Common) -> Result<(), QueueError> {
        let Ok(len) = u32::try_from(frame.len) else { return Ok(()) };
        let is_plain = matches!(frame.header.gso_type & !FrameHeader::GSO_ECN, FrameHeader::GSO_NONE);
        let is_too_long = is_plain && self.longest_plain.is_some_and(|longest| len > longest);
        let mut rest = len + HEADER;
        let mut count = 0_u16;
        for chain in &self.held {
            if rest == 0 {
                break;
            }
            rest = rest.saturating_sub(chain.writable_len());
            count += 1;
        }
        if len < SHORTEST_FRAME || is_too_long || rest > 0 {
            common.drop_frame(format_args!(
                "{len} bytes for the guest are no frame that it may have; they are lost"
            ));
            return Ok(());
        }
        let header = sound(frame.header, common.shared.accepted()).to_bytes(count);
        let mut rest = len + HEADER;
        for number in 0..count {
            let Some(chain) = self.held.pop_front() else { break };
            if number == 0 {
                chain.write_at(&common.ram, 0, &header);
            }
            let written = rest.min(chain.writable_len());
            rest -= written;
            self.queue.push(chain.head(), written)?;
            self.queue.recycle(chain);
            self.untold += 1;
        }
        common.traffic().received(len.into());
        self.due = common.pay(len.into());
        if self.untold >= BATCH { self.tell() } else { Ok(()) }
    }

    fn tell(&mut self) -> Result<(), QueueError> {
        self.untold = 0;
        self.queue.signal()
    }
}
