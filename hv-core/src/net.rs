//! The host's end of a guest's network cable: what a frame says beside its bytes, and what takes and gives frames.

use std::{io, time::Instant};

use bitflags::bitflags;

use crate::memory::GuestBuffer;

/// Bytes of the header that stands before each frame in a virtqueue, in Linux's tap and towards vhost: `struct
/// virtio_net_hdr` with `num_buffers` (VIRTIO 1.2, 5.1.6).
pub const FRAME_HEADER_SIZE: usize = 12;

/// The longest frame with segmentation left to the other side: an Ethernet header and an IP packet.
pub const MAX_FRAME: usize = 14 + 65_535;

/// The longest frame without: an Ethernet header and the MTU, 1500.
pub const MAX_PLAIN_FRAME: usize = 14 + 1500;

bitflags! {
    /// Work on a frame that its sender may leave to who takes it.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
    pub struct Offloads: u8 {
        /// The checksum of TCP and UDP.
        const CHECKSUM = 1;
        /// Segmentation of TCP over IPv4.
        const TSO4 = 1 << 1;
        /// Segmentation of TCP over IPv6.
        const TSO6 = 1 << 2;
        /// Segmentation of TCP whose first segment alone says that the sender slowed down ([`FrameHeader::GSO_ECN`]).
        const ECN = 1 << 3;
    }
}

/// What a frame says beside its bytes: the fields of `struct virtio_net_hdr` (VIRTIO 1.2, 5.1.6), as they stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FrameHeader {
    /// [`Self::NEEDS_CHECKSUM`], [`Self::CHECKSUM_IS_VALID`].
    pub flags: u8,
    /// [`Self::GSO_NONE`], [`Self::GSO_TCPV4`] or [`Self::GSO_TCPV6`], perhaps with [`Self::GSO_ECN`].
    pub gso_type: u8,
    /// Bytes of the headers that each segment repeats; a hint.
    pub header_len: u16,
    /// Bytes of payload in each segment but the last.
    pub gso_size: u16,
    /// Where in the frame the sum begins.
    pub checksum_start: u16,
    /// Where after `checksum_start` the sum is stored.
    pub checksum_offset: u16,
}

impl FrameHeader {
    /// The receiver completes the checksum.
    pub const NEEDS_CHECKSUM: u8 = 1;
    /// The checksum was looked at and is right.
    pub const CHECKSUM_IS_VALID: u8 = 2;
    /// One frame as it is.
    pub const GSO_NONE: u8 = 0;
    /// TCP over IPv4, to be cut.
    pub const GSO_TCPV4: u8 = 1;
    /// TCP over IPv6, to be cut.
    pub const GSO_TCPV6: u8 = 4;
    /// With congestion told by ECN.
    pub const GSO_ECN: u8 = 0x80;

    /// The header as it stands in memory; `buffers` is `num_buffers`.
    pub fn to_bytes(self, buffers: u16) -> [u8; FRAME_HEADER_SIZE] {
        let mut bytes = [0; FRAME_HEADER_SIZE];
        bytes[0] = self.flags;
        bytes[1] = self.gso_type;
        let words = [self.header_len, self.gso_size, self.checksum_start, self.checksum_offset, buffers];
        for (to, word) in bytes[2..].chunks_exact_mut(2).zip(words) {
            to.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    /// The header in `bytes`, whatever it says.
    pub fn from_bytes(bytes: [u8; FRAME_HEADER_SIZE]) -> Self {
        let word = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        Self {
            flags: bytes[0],
            gso_type: bytes[1],
            header_len: word(2),
            gso_size: word(4),
            checksum_start: word(6),
            checksum_offset: word(8),
        }
    }
}

/// A frame that was put into a buffer for the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    /// What it says beside its bytes.
    pub header: FrameHeader,
    /// Its bytes, from the start of the buffer.
    pub len: usize,
}

/// The host's end of one pair of a network card's virtqueues. The device's worker makes all calls, one at a time.
///
/// Frames begin with the Ethernet header; the [`FrameHeader`] is apart. Nothing blocks.
pub trait NetBackend: Send {
    /// What the guest may leave to it in the frames that it sends; nothing unless it says so.
    fn takes(&self) -> Offloads {
        Offloads::empty()
    }

    /// What it would leave to the guest in the frames that it gives; nothing unless it says so.
    fn gives(&self) -> Offloads {
        Offloads::empty()
    }

    /// A driver is ready and uses this pair, and of [`gives`](Self::gives) it wants `accepted`. What the backend registers with
    /// `registry`, under tokens of its own, wakes the worker; mio's events are edges. Each start has a registry of its own,
    /// so it may make its [`Waker`](mio::Waker) of it.
    ///
    /// # Errors
    /// The host cannot; the device does not work then.
    fn start(&mut self, accepted: Offloads, registry: &mio::Registry) -> io::Result<()>;

    /// The driver wants only `accepted` from now on, of what it took when it began. Nothing to do for a backend that
    /// gives nothing.
    ///
    /// # Errors
    /// The host cannot; the device does not work then.
    fn set_accepted(&mut self, accepted: Offloads) -> io::Result<()> {
        let _ = accepted;
        Ok(())
    }

    /// The driver is gone or uses this pair no more, perhaps until the next [`start`](Self::start). What was registered is
    /// to be forgotten, and frames that come meanwhile are not to be kept for this pair.
    fn stop(&mut self, registry: &mio::Registry);

    /// Some of what it registered became ready, or its [`deadline`](Self::deadline) is over (then `events` is empty).
    fn wake(&mut self, events: &mio::Events);

    /// Takes a frame of the guest; false if it has no room, and then the same frame is offered again after the next
    /// [`wake`](Self::wake). What is not a frame that the backend knows is dropped, and that is no error.
    ///
    /// # Errors
    /// The other end is gone or broken: the frame is lost, and the next one is tried.
    fn send(&mut self, header: FrameHeader, frame: GuestBuffer<'_>) -> io::Result<bool>;

    /// The guest has no more frames for now: what [`send`](Self::send) put off is due.
    fn flush(&mut self) {}

    /// The most bytes that the next frame for the guest may have; `None` if there is surely none. A frame of unknown
    /// size is as long as frames can be.
    fn next_len(&mut self) -> Option<usize>;

    /// Puts the next frame for the guest into `buffer`, which has at least [`next_len`](Self::next_len) bytes; `None`
    /// if there is none after all.
    ///
    /// # Errors
    /// The other end is gone or broken; the next call tries again.
    fn receive(&mut self, buffer: GuestBuffer<'_>) -> io::Result<Option<Received>>;

    /// When to [`wake`](Self::wake) it though nothing becomes ready.
    fn deadline(&self) -> Option<Instant> {
        None
    }

    /// Whether the other end is there: the link that the guest sees. Looked at before the first
    /// [`start`](Self::start), and after each one and each [`wake`](Self::wake).
    fn is_up(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_has_the_layout_of_the_specification() {
        let header = FrameHeader {
            flags: FrameHeader::NEEDS_CHECKSUM,
            gso_type: FrameHeader::GSO_TCPV6,
            header_len: 0x0102,
            gso_size: 0x0304,
            checksum_start: 0x0506,
            checksum_offset: 0x0708,
        };
        let bytes = header.to_bytes(0x090a);
        assert_eq!(bytes, [1, 4, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9]);
        assert_eq!(FrameHeader::from_bytes(bytes), header);
    }
}
