//! Stand-in: frames in a file.

use std::{fs::File, io};

use hv_core::{
    memory::GuestBuffer,
    net::{FrameHeader, NetBackend, Offloads, Received},
};

/// The file.
#[derive(Debug)]
pub struct CaptureFile;

impl CaptureFile {
    /// In `file`.
    pub fn new(_: File) -> io::Result<Self> {
        Ok(Self)
    }
}

/// A backend whose frames are written down.
pub struct Capture(Box<dyn NetBackend>);

impl Capture {
    /// Around `backend`.
    pub fn around(backend: Box<dyn NetBackend>, _: &CaptureFile) -> Self {
        Self(backend)
    }
}

impl NetBackend for Capture {
    fn takes(&self) -> Offloads {
        self.0.takes()
    }

    fn gives(&self) -> Offloads {
        Offloads::empty()
    }

    fn start(&mut self, _: Offloads, _: &mio::Registry) -> io::Result<()> {
        Ok(())
    }

    fn stop(&mut self, _: &mio::Registry) {}

    fn wake(&mut self, _: &mio::Events) {}

    fn send(&mut self, _: FrameHeader, _: GuestBuffer<'_>) -> io::Result<bool> {
        Ok(true)
    }

    fn next_len(&mut self) -> Option<usize> {
        None
    }

    fn receive(&mut self, _: GuestBuffer<'_>) -> io::Result<Option<Received>> {
        Ok(None)
    }
}
