//! Frames of the guest.

use std::time::Duration;

use super::{
    common::Common,
    lengths::{HEADER, LONGEST_FRAME, SHORTEST_FRAME},
};
use crate::{
    memory::{GuestBuffer, Segment, parts},
    net::{FRAME_HEADER_SIZE, FrameHeader, NetBackend},
    virtio::{Chain, QueueError, Virtqueue},
};

/// Chains given back before the driver is told: enough to spare interrupts, few enough that it goes on meanwhile.
pub(super) const BATCH: u32 = 16;

/// The driver's queue of frames to send.
pub(super) struct Transmit {
    queue: Virtqueue,
    /// A chain whose frame waits for room at the backend, or for tokens.
    kept: Option<Chain>,
    /// The backend had no room for it, and was not woken since.
    is_blocked: bool,
    /// When it has its tokens.
    due: Option<Duration>,
    /// Frames were sent since the last flush.
    is_unflushed: bool,
    /// Chains given back since the driver was told.
    untold: u32,
    segments: Vec<Segment>,
}

impl Transmit {
    pub(super) fn new(queue: Virtqueue) -> Self {
        Self {
            queue,
            kept: None,
            is_blocked: false,
            due: None,
            is_unflushed: false,
            untold: 0,
            segments: Vec::new(),
        }
    }

    pub(super) fn queue(&mut self) -> &mut Virtqueue {
        &mut self.queue
    }

    /// Whether a frame waits: then more of them are of no use.
    pub(super) fn waits(&self) -> bool {
        self.kept.is_some()
    }

    /// When the frame that waits has its tokens.
    pub(super) fn due(&self) -> Option<Duration> {
        self.due
    }

    /// Whether the driver has frames to send.
    pub(super) fn has_frames(&self) -> bool {
        self.queue.has_available()
    }

    /// The backend was woken: it may have room.
    pub(super) fn unblock(&mut self) {
        self.is_blocked = false;
    }

    /// Sends frames until there are none, one has to wait, or `left` chains are through.
    pub(super) fn run(
        &mut self,
        backend: &mut dyn NetBackend,
        common: &mut Common,
        left: &mut u32,
    ) -> Result<(), QueueError> {
        if self.is_blocked || common.until(self.due).is_some() {
            return Ok(());
        }
        self.due = None;
        let is_plugged = common.shared.is_plugged();
        while *left > 0 {
            let Some(chain) = self.next(common, is_plugged)? else { break };
            if !self.is_frame(&chain) {
                let len = chain.readable_len() - HEADER;
                common.drop_frame(format_args!("the guest sent {len} bytes, which is no frame; it is lost"));
            } else if !is_plugged {
                common.traffic().dropped();
            } else if !self.offer(&chain, backend, common) {
                self.kept = Some(chain);
                self.is_blocked = true;
                break;
            }
            *left -= 1;
            self.give_back(chain)?;
        }
        if self.is_unflushed && *left > 0 {
            self.is_unflushed = false;
            backend.flush();
        }
        self.tell()
    }

    /// The next chain whose frame may pass now, or that has none.
    fn next(&mut self, common: &mut Common, is_plugged: bool) -> Result<Option<Chain>, QueueError> {
        if let Some(kept) = self.kept.take() {
            return Ok(Some(kept));
        }
        let Some(chain) = self.queue.pop()? else { return Ok(None) };
        if chain.readable_len() < HEADER {
            let len = chain.readable_len();
            return Err(self.queue.error(format!("chain of {len} readable bytes has no frame's header")));
        }
        if is_plugged && self.is_frame(&chain) {
            self.due = common.pay((chain.readable_len() - HEADER).into());
            if self.due.is_some() {
                self.kept = Some(chain);
                return Ok(None);
            }
        }
        Ok(Some(chain))
    }

    fn is_frame(&self, chain: &Chain) -> bool {
        (HEADER + SHORTEST_FRAME..=HEADER + LONGEST_FRAME).contains(&chain.readable_len())
    }

    /// Hands the chain's frame to the backend; false if that has no room.
    fn offer(&mut self, chain: &Chain, backend: &mut dyn NetBackend, common: &mut Common) -> bool {
        let mut header = [0; FRAME_HEADER_SIZE];
        chain.read_at(&common.ram, 0, &mut header);
        let len = chain.readable_len() - HEADER;
        self.segments.clear();
        self.segments.extend(parts(chain.readable(), HEADER, len));
        let frame = GuestBuffer { ram: &common.ram, segments: &self.segments };
        match backend.send(FrameHeader::from_bytes(header), frame) {
            Ok(true) => {
                common.traffic().sent(len.into());
                self.is_unflushed = true;
            }
            Ok(false) => return false,
            Err(error) => {
                common.drop_frame(format_args!("cannot send on the host: {error}; the frame is lost"));
            }
        }
        true
    }

    fn give_back(&mut self, chain: Chain) -> Result<(), QueueError> {
        self.queue.push(chain.head(), 0)?;
        self.queue.recycle(chain);
        self.untold += 1;
        if self.untold >= BATCH { self.tell() } else { Ok(()) }
    }

    fn tell(&mut self) -> Result<(), QueueError> {
        self.untold = 0;
        self.queue.signal()
    }
}
