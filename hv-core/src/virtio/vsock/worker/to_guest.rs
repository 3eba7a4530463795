//! Packets to the guest.

use super::{
    super::{packet::Operation, receive::MAX_PAYLOAD},
    Worker,
};
use crate::virtio::QueueError;

impl Worker {
    /// Sends what is to be sent, as far as the driver has buffers; says whether there is more to do at once.
    pub(super) fn receive(&mut self) -> Result<bool, QueueError> {
        self.receive.queue().disable_doorbell()?;
        let mut left = u32::from(self.receive.queue().size());
        let mut again = false;
        while !self.refusals.is_empty() || self.connections.has_ready() {
            if left == 0 {
                again = true;
                break;
            }
            if !self.receive.has_room()? {
                again = self.receive.queue().enable_doorbell()?;
                break;
            }
            let sent = match self.refusals.pop_front() {
                Some(refusal) => self.receive.put(&refusal, &[]).map(|()| 1)?,
                None => self.send_of_next()?,
            };
            left = left.saturating_sub(sent);
        }
        self.receive.queue().signal()?;
        Ok(again)
    }

    /// Sends something of the next connection in line, for which there is a buffer; says how many packets.
    fn send_of_next(&mut self) -> Result<u32, QueueError> {
        let Some(slot) = self.connections.next_ready() else { return Ok(0) };
        let mut sent = 0;
        if let Some(connection) = self.connections.connection(slot)
            && let Some(operation) = connection.next()
        {
            if operation == Operation::Data {
                let room = self.receive.room(connection.may_send().min(MAX_PAYLOAD))?;
                let bytes = self.payload.get_mut(..room as usize).unwrap_or_default();
                let count = connection.read(bytes);
                let mut rest = bytes.get(..count).unwrap_or_default();
                while !rest.is_empty() {
                    let len = self.receive.next_room().min(u32::try_from(rest.len()).unwrap_or(u32::MAX));
                    let Some((piece, after)) = rest.split_at_checked(len as usize).filter(|_| len > 0) else {
                        break;
                    };
                    let header = connection.send(operation, len, self.guest_cid);
                    self.receive.put(&header, piece)?;
                    rest = after;
                    sent += 1;
                }
            } else {
                let header = connection.send(operation, 0, self.guest_cid);
                self.receive.put(&header, &[])?;
                sent = 1;
            }
        }
        self.settle(slot);
        Ok(sent)
    }

    /// Tells the driver that all connections ended, if it has a buffer for that; says whether to look again.
    pub(super) fn tell_event(&mut self) -> Result<bool, QueueError> {
        let Some(queue) = self.event.as_mut().filter(|_| self.owes_event) else { return Ok(false) };
        queue.disable_doorbell()?;
        let Some(chain) = queue.pop()? else { return queue.enable_doorbell() };
        // VIRTIO_VSOCK_EVENT_TRANSPORT_RESET
        let event = 0_u32.to_le_bytes();
        let written = chain.write_at(queue.ram(), 0, &event);
        if written < event.len() {
            return Err(queue.error(format!("buffer of {written} bytes has no room for an event")));
        }
        queue.push(chain.head(), u32::try_from(written).unwrap_or_default())?;
        queue.recycle(chain);
        queue.signal()?;
        self.owes_event = false;
        Ok(false)
    }
}
