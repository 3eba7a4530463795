//! `Receive`: the rx virtqueue, which takes packets to the guest.

use std::collections::VecDeque;

use super::packet::{HEADER_LEN, Header};
use crate::virtio::{Chain, QueueError, Virtqueue};

/// The most payload of one packet, as Linux has it.
pub(super) const MAX_PAYLOAD: u32 = 64 << 10;

/// Bytes of a header, as lengths in chains count.
const HEADER: u32 = 44;
const _: () = assert!(HEADER as usize == HEADER_LEN);

/// The rx virtqueue, and buffers that were taken from it and not used yet.
pub(super) struct Receive {
    queue: Virtqueue,
    /// Each has room for a header and some payload.
    held: VecDeque<Chain>,
}

impl Receive {
    pub(super) fn new(queue: Virtqueue) -> Self {
        Self { queue, held: VecDeque::new() }
    }

    pub(super) fn queue(&mut self) -> &mut Virtqueue {
        &mut self.queue
    }

    /// Whether there is a buffer for a packet.
    pub(super) fn has_room(&mut self) -> Result<bool, QueueError> {
        Ok(self.room(1)? > 0)
    }

    /// For how much payload there are buffers, at most `wanted`.
    pub(super) fn room(&mut self, wanted: u32) -> Result<u32, QueueError> {
        let mut room = 0;
        for chain in &self.held {
            room += payload_room(chain);
            if room >= wanted {
                return Ok(wanted);
            }
        }
        while room < wanted {
            let Some(chain) = self.queue.pop()? else { break };
            if chain.writable_len() <= HEADER {
                let reason =
                    format!("receive buffer of {} bytes has no room for a packet", chain.writable_len());
                return Err(self.queue.error(reason));
            }
            room += payload_room(&chain);
            self.held.push_back(chain);
        }
        Ok(room.min(wanted))
    }

    /// Bytes of payload that the next packet can have; none if there is no buffer.
    pub(super) fn next_room(&self) -> u32 {
        self.held.front().map_or(0, payload_room)
    }

    /// Uses a buffer, which is there, for a packet, which fits.
    pub(super) fn put(&mut self, header: &Header, payload: &[u8]) -> Result<(), QueueError> {
        let Some(chain) = self.held.pop_front() else { return Ok(()) };
        let ram = self.queue.ram();
        let written = chain.write_at(ram, 0, &header.encode()) + chain.write_at(ram, HEADER, payload);
        // At most MAX_PAYLOAD and a header.
        self.queue.push(chain.head(), u32::try_from(written).unwrap_or_default())?;
        self.queue.recycle(chain);
        Ok(())
    }
}

/// Bytes of payload that a packet in `chain` has room for. A queue has at most 32768 chains, so sums fit into 32 bits.
fn payload_room(chain: &Chain) -> u32 {
    chain.writable_len().saturating_sub(HEADER).min(MAX_PAYLOAD)
}
