//! `Capture`: a backend around another that writes what passes into a pcapng file.

mod pcapng;

use std::{
    fs::File,
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use hv_core::{
    memory::GuestBuffer,
    net::{FrameHeader, MAX_FRAME, NetBackend, Offloads, Received},
};
use pcapng::{Direction, Writer};

use crate::offload;

/// A file that takes the frames of all queue pairs of a card. What cannot be written any more, as on a full disk,
/// ends the capture with one warning; the guest notices nothing.
#[derive(Debug, Clone)]
pub struct CaptureFile(Arc<Mutex<Option<Writer>>>);

impl CaptureFile {
    /// Begins a capture in `file`, which is empty.
    ///
    /// # Errors
    /// The host's.
    pub fn new(file: File) -> io::Result<Self> {
        Ok(Self(Arc::new(Mutex::new(Some(Writer::new(file)?)))))
    }

    /// Calls `write` if the capture goes on, and ends it if that fails.
    fn with(&self, write: impl FnOnce(&mut Writer) -> io::Result<()>) {
        let mut writer = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(open) = writer.as_mut() else { return };
        if let Err(error) = write(open) {
            tracing::warn!("the network capture ends here: {error}; its file holds what came before");
            *writer = None;
        }
    }

    fn is_open(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }
}

/// A backend whose frames are written down: as packets of a wire, so with complete checksums and cut to size, also
/// where guest and host leave that to each other.
pub struct Capture {
    backend: Box<dyn NetBackend>,
    file: CaptureFile,
    /// A frame's copy, made only for the capture.
    frame: Vec<u8>,
}

impl Capture {
    /// Writes what passes `backend` into `file`, which is empty.
    ///
    /// # Errors
    /// The host's.
    pub fn new(backend: Box<dyn NetBackend>, file: File) -> io::Result<Self> {
        Ok(Self::around(backend, &CaptureFile::new(file)?))
    }

    /// Writes what passes `backend` into `file`, perhaps beside what passes others.
    pub fn around(backend: Box<dyn NetBackend>, file: &CaptureFile) -> Self {
        Self { backend, file: file.clone(), frame: Vec::new() }
    }

    fn write(&mut self, direction: Direction, header: FrameHeader, buffer: GuestBuffer<'_>, len: usize) {
        if !self.file.is_open() {
            return;
        }
        self.frame.resize(len.min(MAX_FRAME), 0);
        let Ok(copied) = buffer.copy_to(&mut self.frame) else { return };
        let frame = &mut self.frame[..copied];
        self.file.with(|writer| {
            let mut result = Ok(());
            offload::packets(header, frame, |packet| {
                if result.is_ok() {
                    result = writer.packet(direction, packet);
                }
            });
            result
        });
    }
}

impl NetBackend for Capture {
    fn takes(&self) -> Offloads {
        self.backend.takes()
    }

    fn gives(&self) -> Offloads {
        self.backend.gives()
    }

    fn start(&mut self, accepted: Offloads, registry: &mio::Registry) -> io::Result<()> {
        self.backend.start(accepted, registry)
    }

    fn set_accepted(&mut self, accepted: Offloads) -> io::Result<()> {
        self.backend.set_accepted(accepted)
    }

    fn stop(&mut self, registry: &mio::Registry) {
        self.backend.stop(registry);
        self.file.with(Writer::flush);
    }

    fn wake(&mut self, events: &mio::Events) {
        self.backend.wake(events);
    }

    fn send(&mut self, header: FrameHeader, frame: GuestBuffer<'_>) -> io::Result<bool> {
        let is_taken = self.backend.send(header, frame)?;
        if is_taken {
            let len = usize::try_from(frame.len()).unwrap_or(usize::MAX);
            self.write(Direction::Outbound, header, frame, len);
        }
        Ok(is_taken)
    }

    fn flush(&mut self) {
        self.backend.flush();
        self.file.with(Writer::flush);
    }

    fn next_len(&mut self) -> Option<usize> {
        let len = self.backend.next_len();
        if len.is_none() {
            // Who reads the file meanwhile sees what came so far.
            self.file.with(Writer::flush);
        }
        len
    }

    fn receive(&mut self, buffer: GuestBuffer<'_>) -> io::Result<Option<Received>> {
        let received = self.backend.receive(buffer)?;
        if let Some(Received { header, len }) = received {
            self.write(Direction::Inbound, header, buffer, len);
        }
        Ok(received)
    }

    fn deadline(&self) -> Option<Instant> {
        self.backend.deadline()
    }

    fn is_up(&self) -> bool {
        self.backend.is_up()
    }
}

#[cfg(test)]
mod tests;
