//! The queue for commands of the driver (VIRTIO 1.2, 5.1.6.5).

use virtio_bindings::virtio_net::{
    VIRTIO_NET_CTRL_GUEST_OFFLOADS, VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET, VIRTIO_NET_CTRL_MAC,
    VIRTIO_NET_CTRL_MAC_ADDR_SET, VIRTIO_NET_CTRL_MAC_TABLE_SET, VIRTIO_NET_CTRL_MQ,
    VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_ALLMULTI,
    VIRTIO_NET_CTRL_RX_PROMISC, VIRTIO_NET_ERR, VIRTIO_NET_F_CTRL_GUEST_OFFLOADS, VIRTIO_NET_F_CTRL_MAC_ADDR,
    VIRTIO_NET_F_CTRL_RX, VIRTIO_NET_F_MQ, VIRTIO_NET_OK,
};

use super::{TO_GUEST, from_features, shared::Shared, to_features};
use crate::{
    memory::GuestRam,
    net::Offloads,
    virtio::{Chain, QueueError, Virtqueue},
};

/// Bytes of a command before what is its own: class and number.
const HEADER_LEN: u32 = 2;

/// Bytes of an address in the filter's tables.
const ADDRESS_LEN: u64 = 6;

/// The queue for commands.
pub(super) struct Control {
    queue: Virtqueue,
    features: u64,
    /// Pairs of virtqueues that the driver set up.
    pairs: usize,
    /// A command that is under way: it is answered when all workers have done their part.
    under_way: Option<Chain>,
}

/// What comes of a command.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Done,
    Refused,
    /// It is done when all workers know.
    UnderWay,
}

impl Control {
    /// Commands of a driver that accepted `features` and set `pairs` pairs of virtqueues up.
    pub(super) fn new(queue: Virtqueue, features: u64, pairs: usize) -> Self {
        Self { queue, features, pairs, under_way: None }
    }

    pub(super) fn index(&self) -> u16 {
        self.queue.index()
    }

    /// Obeys commands; says whether there is more to do at once.
    pub(super) fn serve(&mut self, shared: &Shared) -> Result<bool, QueueError> {
        self.queue.disable_doorbell()?;
        let mut again = true;
        for _ in 0..self.queue.size() {
            if self.under_way.is_some() && !shared.is_settled() {
                // The other workers ring.
                again = false;
                break;
            }
            if let Some(chain) = self.under_way.take() {
                self.answer(chain, VIRTIO_NET_OK)?;
            }
            let Some(chain) = self.queue.pop()? else {
                again = self.queue.enable_doorbell()?;
                break;
            };
            match self.obey(&chain, shared) {
                Outcome::Done => self.answer(chain, VIRTIO_NET_OK)?,
                Outcome::Refused => self.answer(chain, VIRTIO_NET_ERR)?,
                Outcome::UnderWay => self.under_way = Some(chain),
            }
        }
        self.queue.signal()?;
        Ok(again)
    }

    fn answer(&mut self, chain: Chain, ack: u32) -> Result<(), QueueError> {
        if chain.write_at(self.queue.ram(), 0, &ack.to_le_bytes()[..1]) == 0 {
            return Err(self.queue.error("command without room for its answer"));
        }
        self.queue.push(chain.head(), 1)?;
        self.queue.recycle(chain);
        Ok(())
    }

    fn obey(&self, chain: &Chain, shared: &Shared) -> Outcome {
        let has = |bit: u32| self.features >> bit & 1 == 1;
        let ram = self.queue.ram();
        let Some([class, command]) = read(chain, ram, 0) else { return Outcome::Refused };
        let len = chain.readable_len() - HEADER_LEN;
        let done = |well: bool| if well { Outcome::Done } else { Outcome::Refused };
        match (class.into(), command.into()) {
            // The guest gets every frame that the backend has for it, whatever its address: no filter is none too many
            // (5.1.6.5.1, 5.1.6.5.2).
            (VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_PROMISC | VIRTIO_NET_CTRL_RX_ALLMULTI)
                if has(VIRTIO_NET_F_CTRL_RX) =>
            {
                done(len == 1)
            }
            (VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET) if has(VIRTIO_NET_F_CTRL_RX) => {
                done(is_two_tables(chain, ram))
            }
            (VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET) if has(VIRTIO_NET_F_CTRL_MAC_ADDR) => {
                // A group of cards has no card's address.
                let mac = read::<6>(chain, ram, HEADER_LEN).filter(|mac| len == 6 && mac[0] & 1 == 0);
                if let Some(mac) = mac {
                    shared.set_mac(mac);
                }
                done(mac.is_some())
            }
            (VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET) if has(VIRTIO_NET_F_MQ) => {
                let count = read(chain, ram, HEADER_LEN).map(u16::from_le_bytes).map(usize::from);
                match count.filter(|count| len == 2 && (1..=self.pairs).contains(count)) {
                    Some(count) => {
                        shared.use_pairs(count);
                        Outcome::UnderWay
                    }
                    None => Outcome::Refused,
                }
            }
            (VIRTIO_NET_CTRL_GUEST_OFFLOADS, VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET)
                if has(VIRTIO_NET_F_CTRL_GUEST_OFFLOADS) =>
            {
                // Only of what was negotiated (5.1.6.5.7.1).
                let negotiated = to_features(Offloads::all(), &TO_GUEST) & self.features;
                let wanted = read(chain, ram, HEADER_LEN).map(u64::from_le_bytes);
                match wanted.filter(|wanted| len == 8 && wanted & !negotiated == 0) {
                    Some(wanted) => {
                        shared.accept(from_features(wanted, &TO_GUEST));
                        Outcome::UnderWay
                    }
                    None => Outcome::Refused,
                }
            }
            _ => Outcome::Refused,
        }
    }
}

/// Whether a command's own bytes are a table of unicast addresses and one of groups (5.1.6.5.2).
fn is_two_tables(chain: &Chain, ram: &GuestRam) -> bool {
    let after = |at: u64| {
        let entries = read(chain, ram, u32::try_from(at).ok()?).map(u32::from_le_bytes)?;
        Some(at + 4 + u64::from(entries) * ADDRESS_LEN)
    };
    after(HEADER_LEN.into()).and_then(after) == Some(chain.readable_len().into())
}

fn read<const N: usize>(chain: &Chain, ram: &GuestRam, offset: u32) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    (chain.read_at(ram, offset, &mut bytes) == N).then_some(bytes)
}
