//! `Scratch`: memory of the host's for a frame for which the driver may have no room.

use std::io;

use vm_memory::{GuestAddress, GuestMemoryMmap};

use super::lengths::LONGEST_FRAME;
use crate::{
    memory::{GuestBuffer, Segment},
    net::{MAX_FRAME, Received},
};

/// Room for one frame of any length.
pub(super) struct Scratch {
    memory: GuestMemoryMmap,
    whole: [Segment; 1],
    /// The frame that is there.
    pub(super) frame: Option<Received>,
}

impl Scratch {
    /// Takes memory of the host only when a frame comes.
    pub(super) fn new() -> Result<Self, String> {
        let start = GuestAddress(0);
        let memory = GuestMemoryMmap::from_ranges(&[(start, MAX_FRAME.next_multiple_of(64 << 10))]);
        let memory = memory.map_err(|error| format!("cannot map memory for a frame: {error}"))?;
        Ok(Self { memory, whole: [Segment { address: start, len: LONGEST_FRAME }], frame: None })
    }

    /// Its first `len` bytes.
    pub(super) fn bytes(&self, len: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; len.min(MAX_FRAME)];
        self.buffer().copy_to(&mut bytes)?;
        Ok(bytes)
    }

    /// All of it.
    pub(super) fn buffer(&self) -> GuestBuffer<'_> {
        GuestBuffer { ram: &self.memory, segments: &self.whole }
    }
}
