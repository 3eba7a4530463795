//! `Switch`: one card on two networks: frames for guests of a segment go there, all others to the way out.

use std::{
    collections::{HashSet, VecDeque},
    io, mem,
    time::Instant,
};

use hv_core::{
    memory::{self, GuestAddress, GuestBuffer, GuestMemoryMmap},
    net::{FrameHeader, MAX_FRAME, NetBackend, Offloads, Received},
};

use crate::{
    ethernet::{self, Mac},
    offload,
};

/// Addresses that are known on a side; more make it begin anew.
const MOST_ADDRESSES: usize = 1024;

/// Broadcasts and packets that wait for room on the segment; more broadcasts are lost. One frame becomes fewer packets.
const MOST_WAITING: usize = 64;

/// The two sides of a card.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Out,
    Segment,
}

/// A card on a network that leads out and on a segment of guests.
///
/// The guest may leave to it what the way out takes; for the segment, which takes nothing, that work is done here.
pub struct Switch {
    out: Box<dyn NetBackend>,
    segment: Box<dyn NetBackend>,
    /// Addresses seen on each side; what the way out uses is never looked for on the segment.
    of_out: HashSet<Mac>,
    of_segment: HashSet<Mac>,
    turn: Side,
    /// The other side may have a frame that the last buffer was too small for.
    is_cut_short: bool,
    waiting: VecDeque<Vec<u8>>,
    /// Where a packet stands while the segment takes it, as if the guest had made it.
    scratch: GuestMemoryMmap,
}

impl Switch {
    /// Joins `out` and `segment` in one card.
    ///
    /// # Errors
    /// The host has no memory.
    pub fn new(out: Box<dyn NetBackend>, segment: Box<dyn NetBackend>) -> io::Result<Self> {
        let scratch = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), MAX_FRAME.next_multiple_of(4096))]);
        Ok(Self {
            out,
            segment,
            of_out: HashSet::new(),
            of_segment: HashSet::new(),
            turn: Side::Out,
            is_cut_short: false,
            waiting: VecDeque::new(),
            scratch: scratch.map_err(io::Error::other)?,
        })
    }

    fn side(&mut self, side: Side) -> &mut dyn NetBackend {
        match side {
            Side::Out => &mut *self.out,
            Side::Segment => &mut *self.segment,
        }
    }

    /// Gives waiting packets to the segment; true if none waits any more.
    fn drain(&mut self) -> bool {
        while let Some(packet) = self.waiting.front() {
            let len = u32::try_from(packet.len()).unwrap_or_default();
            let segments = [memory::Segment { address: GuestAddress(0), len }];
            let buffer = GuestBuffer { ram: &self.scratch, segments: &segments };
            let is_taken = buffer
                .copy_from(packet)
                .and_then(|_| self.segment.send(FrameHeader::default(), buffer))
                // Lost, as on any wire; the others are tried.
                .unwrap_or(true);
            if !is_taken {
                return false;
            }
            self.waiting.pop_front();
        }
        true
    }

    /// Has `frame` wait for the segment, as the packets that it takes.
    fn put_off(&mut self, header: FrameHeader, frame: GuestBuffer<'_>) -> io::Result<()> {
        let len = usize::try_from(frame.len()).unwrap_or(usize::MAX);
        if len > MAX_FRAME {
            return Ok(());
        }
        let mut bytes = vec![0; len];
        frame.copy_to(&mut bytes)?;
        offload::packets(header, &mut bytes, |packet| self.waiting.push_back(packet.to_vec()));
        self.drain();
        Ok(())
    }

    fn send_to_segment(&mut self, header: FrameHeader, frame: GuestBuffer<'_>) -> io::Result<bool> {
        if !self.drain() {
            return Ok(false);
        }
        let is_whole =
            header.flags & FrameHeader::NEEDS_CHECKSUM == 0 && header.gso_type == FrameHeader::GSO_NONE;
        if is_whole {
            return self.segment.send(header, frame);
        }
        self.put_off(header, frame).map(|()| true)
    }

    /// Remembers on which side the sender of a frame is.
    fn learn(&mut self, side: Side, source: Mac) {
        if !ethernet::is_unicast(source) {
            return;
        }
        let addresses = match side {
            Side::Out => &mut self.of_out,
            Side::Segment if self.of_out.contains(&source) => return,
            Side::Segment => &mut self.of_segment,
        };
        if addresses.len() >= MOST_ADDRESSES && !addresses.contains(&source) {
            // What is used is learned again.
            addresses.clear();
        }
        if addresses.insert(source) && side == Side::Out {
            self.of_segment.remove(&source);
        }
    }
}

impl NetBackend for Switch {
    fn takes(&self) -> Offloads {
        self.out.takes()
    }

    fn gives(&self) -> Offloads {
        self.out.gives()
    }

    fn start(&mut self, accepted: Offloads, registry: &mio::Registry) -> io::Result<()> {
        self.out.start(accepted, registry)?;
        self.segment.start(Offloads::empty(), registry).inspect_err(|_| self.out.stop(registry))
    }

    fn set_accepted(&mut self, accepted: Offloads) -> io::Result<()> {
        self.out.set_accepted(accepted)
    }

    fn stop(&mut self, registry: &mio::Registry) {
        self.out.stop(registry);
        self.segment.stop(registry);
        self.waiting.clear();
    }

    fn wake(&mut self, events: &mio::Events) {
        self.is_cut_short = false;
        self.out.wake(events);
        self.segment.wake(events);
        self.drain();
    }

    fn send(&mut self, header: FrameHeader, frame: GuestBuffer<'_>) -> io::Result<bool> {
        let mut start = [0; ethernet::HEADER];
        if frame.copy_to(&mut start)? < start.len() {
            return Ok(true);
        }
        let to = ethernet::destination(&start);
        if self.of_segment.contains(&to) {
            return self.send_to_segment(header, frame);
        }
        let sent = self.out.send(header, frame);
        // To all: once the way out has it, as a frame that it puts off comes again.
        if !ethernet::is_unicast(to) && !matches!(sent, Ok(false)) && self.waiting.len() < MOST_WAITING {
            self.put_off(header, frame)?;
        }
        sent
    }

    fn flush(&mut self) {
        self.out.flush();
        self.segment.flush();
    }

    fn next_len(&mut self) -> Option<usize> {
        for _ in 0..2 {
            let len = self.side(self.turn).next_len();
            if len.is_some() {
                return len;
            }
            self.turn = self.turn.other();
        }
        None
    }

    fn receive(&mut self, buffer: GuestBuffer<'_>) -> io::Result<Option<Received>> {
        for _ in 0..2 {
            let other = self.turn.other();
            let side = mem::replace(&mut self.turn, other);
            match self.side(side).next_len() {
                Some(len) if len as u64 > buffer.len() => self.is_cut_short = true,
                Some(_) => {
                    let received = self.side(side).receive(buffer)?;
                    let mut start = [0; ethernet::HEADER];
                    if received.is_some() {
                        buffer.copy_to(&mut start)?;
                        self.learn(side, ethernet::source(&start));
                        return Ok(received);
                    }
                }
                None => {}
            }
        }
        Ok(None)
    }

    fn deadline(&self) -> Option<Instant> {
        let again = self.is_cut_short.then(Instant::now);
        [self.out.deadline(), self.segment.deadline(), again].into_iter().flatten().min()
    }

    fn is_up(&self) -> bool {
        self.out.is_up()
    }
}

impl Side {
    fn other(self) -> Self {
        match self {
            Self::Out => Self::Segment,
            Self::Segment => Self::Out,
        }
    }
}

#[cfg(test)]
mod tests;
