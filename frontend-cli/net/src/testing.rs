//! What the tests of this crate share: guest RAM with a frame in it, and a backend that plays the other end.

use std::{
    collections::VecDeque,
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use hv_core::{
    memory::{GuestAddress, GuestBuffer, GuestMemoryMmap, Segment},
    net::{FrameHeader, NetBackend, Offloads, Received},
};

/// A frame and what it says beside its bytes.
pub(crate) type Frame = (FrameHeader, Vec<u8>);

/// Guest RAM for one frame each way, in pieces.
pub(crate) struct Ram(GuestMemoryMmap, Vec<Segment>);

impl Ram {
    /// Room for the longest frame.
    pub(crate) fn new() -> Self {
        let ram = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 1 << 20)]).unwrap();
        Self(ram, vec![Segment { address: GuestAddress(0x1000), len: 70 << 10 }])
    }

    /// `frame`, in two pieces.
    pub(crate) fn with(frame: &[u8]) -> Self {
        let mut ram = Self::new();
        let first = frame.len() / 3;
        let segment =
            |address, len| Segment { address: GuestAddress(address), len: u32::try_from(len).unwrap() };
        ram.1 = vec![segment(0x8_0000, first), segment(0x100, frame.len() - first)];
        ram.buffer().copy_from(frame).unwrap();
        ram
    }

    pub(crate) fn buffer(&self) -> GuestBuffer<'_> {
        GuestBuffer { ram: &self.0, segments: &self.1 }
    }
}

/// A frame from `from` to `to` with `content`.
pub(crate) fn frame(to: [u8; 6], from: [u8; 6], content: &[u8]) -> Vec<u8> {
    [&to[..], &from, &[0x88, 0xb5], content].concat()
}

/// A backend and what wakes it.
pub(crate) struct Worker<B: NetBackend> {
    pub(crate) backend: B,
    pub(crate) poll: mio::Poll,
    events: mio::Events,
}

impl<B: NetBackend> Worker<B> {
    /// `backend` for a driver that takes nothing of others' work.
    pub(crate) fn new(backend: B) -> Self {
        Self::with(backend, Offloads::empty())
    }

    /// `backend` for a driver that takes `accepted`.
    pub(crate) fn with(mut backend: B, accepted: Offloads) -> Self {
        let poll = mio::Poll::new().unwrap();
        backend.start(accepted, poll.registry()).unwrap();
        Self { backend, poll, events: mio::Events::with_capacity(16) }
    }

    /// Waits until something of the backend is ready or due, and wakes it.
    pub(crate) fn wait(&mut self) {
        let until = self.backend.deadline();
        let most = until
            .map_or(Duration::from_secs(20), |at| at.saturating_duration_since(std::time::Instant::now()));
        // The host may count in milliseconds, and wake a little early.
        self.poll.poll(&mut self.events, Some(most + Duration::from_millis(1))).unwrap();
        assert!(until.is_some() || !self.events.is_empty(), "nothing happened");
        self.backend.wake(&self.events);
    }

    /// Wakes the backend if something of it is ready before `most` is over.
    pub(crate) fn wait_at_most(&mut self, most: Duration) {
        self.poll.poll(&mut self.events, Some(most)).unwrap();
        if !self.events.is_empty() {
            self.backend.wake(&self.events);
        }
    }

    /// What is there now.
    pub(crate) fn receive(&mut self) -> io::Result<Option<Frame>> {
        if self.backend.next_len().is_none() {
            // What it says of an end comes with the next call.
            return Ok(None);
        }
        let ram = Ram::new();
        let received = self.backend.receive(ram.buffer())?;
        Ok(received.map(|Received { header, len }| {
            let mut bytes = vec![0; len];
            ram.buffer().copy_to(&mut bytes).unwrap();
            (header, bytes)
        }))
    }

    /// The next frame, waited for.
    pub(crate) fn next(&mut self) -> Vec<u8> {
        loop {
            if let Some((_, bytes)) = self.receive().unwrap() {
                return bytes;
            }
            self.wait();
        }
    }

    /// Sends `frame` and flushes.
    pub(crate) fn send(&mut self, frame: &[u8]) -> io::Result<bool> {
        let sent = self.backend.send(FrameHeader::default(), Ram::with(frame).buffer());
        self.backend.flush();
        sent
    }
}

/// A backend that keeps what it is sent and gives what it is told to.
#[derive(Clone, Default)]
pub(crate) struct Plain {
    pub(crate) sent: Arc<Mutex<Vec<Frame>>>,
    pub(crate) to_give: Arc<Mutex<VecDeque<Frame>>>,
    pub(crate) is_full: Arc<Mutex<bool>>,
}

impl NetBackend for Plain {
    fn takes(&self) -> Offloads {
        Offloads::all()
    }

    fn gives(&self) -> Offloads {
        Offloads::CHECKSUM
    }

    fn start(&mut self, _: Offloads, _: &mio::Registry) -> io::Result<()> {
        Ok(())
    }

    fn stop(&mut self, _: &mio::Registry) {}

    fn wake(&mut self, _: &mio::Events) {}

    fn send(&mut self, header: FrameHeader, frame: GuestBuffer<'_>) -> io::Result<bool> {
        if *self.is_full.lock().unwrap() {
            return Ok(false);
        }
        let mut bytes = vec![0; usize::try_from(frame.len()).unwrap()];
        frame.copy_to(&mut bytes)?;
        self.sent.lock().unwrap().push((header, bytes));
        Ok(true)
    }

    fn next_len(&mut self) -> Option<usize> {
        self.to_give.lock().unwrap().front().map(|(_, bytes)| bytes.len())
    }

    fn receive(&mut self, buffer: GuestBuffer<'_>) -> io::Result<Option<Received>> {
        let Some((header, bytes)) = self.to_give.lock().unwrap().pop_front() else { return Ok(None) };
        Ok(Some(Received { header, len: buffer.copy_from(&bytes)? }))
    }
}
