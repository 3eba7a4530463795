//! Packets of the guest.

use super::{
    super::{
        connection::{Abort, Connection, Ports},
        packet::{HEADER_LEN, HOST_CID, Header, Operation, STREAM},
        receive::MAX_PAYLOAD,
    },
    Worker,
};
use crate::virtio::{Chain, QueueError};

/// Payload of the guest in one turn, less the last packet's: a reset waits for no more.
const TURN_BYTES: u32 = 1 << 20;

/// Refusals that wait for the driver's buffers; from here on it must give some before its packets are heard.
const MAX_REFUSALS: usize = 128;

impl Worker {
    /// Hears packets; says whether there may be more.
    pub(super) fn transmit(&mut self) -> Result<bool, QueueError> {
        self.transmit.disable_doorbell()?;
        let mut bytes = 0;
        let mut again = true;
        for _ in 0..self.transmit.size() {
            if self.is_held_up() {
                again = false;
                break;
            }
            if bytes >= TURN_BYTES {
                break;
            }
            let Some(chain) = self.transmit.pop()? else {
                again = self.transmit.enable_doorbell()?;
                break;
            };
            self.hear(&chain);
            bytes = bytes.saturating_add(chain.readable_len());
            self.transmit.push(chain.head(), 0)?;
            self.transmit.recycle(chain);
        }
        self.transmit.signal()?;
        Ok(again)
    }

    /// Whether the driver must give buffers for refusals before its packets are heard.
    pub(super) fn is_held_up(&self) -> bool {
        self.refusals.len() >= MAX_REFUSALS
    }

    fn hear(&mut self, chain: &Chain) {
        let mut raw = [0; HEADER_LEN];
        if chain.read_at(self.transmit.ram(), 0, &mut raw) < HEADER_LEN {
            // Nobody can be told.
            return;
        }
        let header = Header::decode(&raw);
        if header.src_cid != self.guest_cid {
            return;
        }
        let operation = Operation::from_number(header.op);
        if header.kind != STREAM || header.dst_cid != HOST_CID {
            if operation != Some(Operation::Reset) {
                self.refuse(&header);
            }
            return;
        }
        let ports = Ports { guest: header.src_port, host: header.dst_port };
        match (operation, self.connections.find(ports)) {
            (Some(Operation::Reset), None) => {}
            (Some(Operation::Reset), Some(slot)) => self.leave(slot),
            (Some(Operation::Request), None) => self.accept(ports, &header),
            (Some(operation), Some(slot)) => match self.hear_of_connection(slot, operation, &header, chain) {
                Ok(false) => self.settle(slot),
                Ok(true) => {
                    self.refuse(&header);
                    self.settle(slot);
                }
                Err(Abort) => {
                    self.refuse(&header);
                    self.leave(slot);
                }
            },
            (_, slot) => {
                self.refuse(&header);
                if let Some(slot) = slot {
                    self.leave(slot);
                }
            }
        }
    }

    /// Hears a packet of a connection; says whether the guest closed it.
    fn hear_of_connection(
        &mut self,
        slot: usize,
        operation: Operation,
        header: &Header,
        chain: &Chain,
    ) -> Result<bool, Abort> {
        let Some(connection) = self.connections.connection(slot) else { return Err(Abort) };
        if operation != Operation::Data {
            return connection.hear(operation, header);
        }
        // The header was whole.
        let most = chain.readable_len().saturating_sub(u32::try_from(HEADER_LEN).unwrap_or_default());
        if header.len > most {
            return Err(Abort);
        }
        connection.hear_data(header, header.len)?;
        let mut offset = 0;
        while offset < header.len {
            let len = (header.len - offset).min(MAX_PAYLOAD);
            let Some(piece) = self.payload.get_mut(..len as usize) else { break };
            // The header's length and a place before the end of the chain: it does not wrap.
            chain.read_at(self.transmit.ram(), offset + (chain.readable_len() - most), piece);
            connection.write(piece);
            offset += len;
        }
        Ok(false)
    }

    /// The guest asks for a connection.
    fn accept(&mut self, ports: Ports, header: &Header) {
        let is_accepted = self.connections.has_room()
            && self
                .shared
                .reach(ports.host)
                .is_ok_and(|stream| self.add(Connection::by_guest(ports, stream, header)));
        if !is_accepted {
            self.refuse(header);
        }
    }

    /// The guest is done with a connection.
    fn leave(&mut self, slot: usize) {
        if let Some(connection) = self.connections.connection(slot) {
            connection.leave();
        }
        self.settle(slot);
    }

    /// Answers a packet with `RST`.
    pub(super) fn refuse(&mut self, header: &Header) {
        self.refusals.push_back(header.refusal());
    }

    /// A packet as the guest sends it on a connection.
    pub(super) fn packet_of_guest(&self, ports: Ports) -> Header {
        Header {
            src_cid: self.guest_cid,
            dst_cid: HOST_CID,
            src_port: ports.guest,
            dst_port: ports.host,
            kind: STREAM,
            ..Header::default()
        }
    }
}
