//! The virtio block device (VIRTIO 1.2, 5.2): a disk with as many request queues as the guest has vCPUs.

mod config;
pub mod request;
mod worker;

#[cfg(test)]
mod tests;

use std::{fmt, sync::Arc};

use virtio_bindings::virtio_blk::{
    VIRTIO_BLK_F_BLK_SIZE, VIRTIO_BLK_F_DISCARD, VIRTIO_BLK_F_FLUSH, VIRTIO_BLK_F_MQ, VIRTIO_BLK_F_RO,
    VIRTIO_BLK_F_SEG_MAX, VIRTIO_BLK_F_TOPOLOGY, VIRTIO_BLK_F_WRITE_ZEROES,
};

use self::{
    config::CONFIG_LEN,
    request::{Limits, SERIAL_LEN},
    worker::Worker,
};
use super::{Activation, Kind, QueueWorker, VirtioDevice};
use crate::{block::BlockBackend, io::RateLimiter};

/// Size of each request queue.
const QUEUE_SIZE: u16 = 256;

/// The most request queues; more cost memory and serve no one.
const MAX_QUEUES: u16 = 16;

/// A disk for the guest.
pub struct Block {
    name: String,
    serial: [u8; SERIAL_LEN as usize],
    disk: Arc<dyn BlockBackend>,
    queue_sizes: Vec<u16>,
    config: [u8; CONFIG_LEN],
    limiter: Option<Arc<RateLimiter>>,
}

impl Block {
    /// `disk` as device `name`, with `queues` request queues (1 to 16: more or fewer are brought there).
    /// The guest sees the first 20 bytes of `serial`.
    pub fn new(name: impl Into<String>, serial: &str, disk: Arc<dyn BlockBackend>, queues: u16) -> Self {
        let queues = queues.clamp(1, MAX_QUEUES);
        let mut padded = [0; SERIAL_LEN as usize];
        for (to, from) in padded.iter_mut().zip(serial.bytes()) {
            *to = from;
        }
        let config = config::space(disk.capacity(), QUEUE_SIZE, queues);
        Self {
            name: name.into(),
            serial: padded,
            disk,
            queue_sizes: vec![QUEUE_SIZE; usize::from(queues)],
            config,
            limiter: None,
        }
    }

    /// Keeps all queues together to what `limiter` lets pass: reads, writes, discards and zeroing, each an operation. What
    /// is durable is the guest's own: a flush costs nothing.
    #[must_use]
    pub fn limited(mut self, limiter: Arc<RateLimiter>) -> Self {
        self.limiter = Some(limiter);
        self
    }
}

impl VirtioDevice for Block {
    fn kind(&self) -> Kind {
        Kind::Block
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn features(&self) -> u64 {
        let always = [
            VIRTIO_BLK_F_SEG_MAX,
            VIRTIO_BLK_F_BLK_SIZE,
            VIRTIO_BLK_F_TOPOLOGY,
            VIRTIO_BLK_F_FLUSH,
            VIRTIO_BLK_F_MQ,
        ];
        let by_mode: &[u32] = if self.disk.read_only() {
            &[VIRTIO_BLK_F_RO]
        } else {
            &[VIRTIO_BLK_F_DISCARD, VIRTIO_BLK_F_WRITE_ZEROES]
        };
        always.iter().chain(by_mode).fold(0, |features, bit| features | 1 << bit)
    }

    fn queue_sizes(&self) -> &[u16] {
        &self.queue_sizes
    }

    fn read_config(&self, offset: usize, data: &mut [u8]) {
        for (to, from) in data.iter_mut().zip(self.config.iter().skip(offset)) {
            *to = *from;
        }
    }

    fn activate(&mut self, with: Activation) -> anyhow::Result<Vec<Box<dyn QueueWorker>>> {
        let has = |bit: u32| with.features >> bit & 1 == 1;
        let limits = Limits {
            capacity: self.disk.capacity(),
            read_only: self.disk.read_only(),
            discard: has(VIRTIO_BLK_F_DISCARD),
            write_zeroes: has(VIRTIO_BLK_F_WRITE_ZEROES),
        };
        // A driver that cannot flush believes that what was written is durable (5.2.6.2).
        let write_through = !has(VIRTIO_BLK_F_FLUSH);
        let queues = with.queues.into_iter().flatten();
        Ok(queues
            .map(|queue| {
                let disk = Arc::clone(&self.disk);
                let worker = Worker::new(self.name.clone(), self.serial, disk, queue, limits, write_through);
                let worker = match &self.limiter {
                    Some(limiter) => worker.limited(Arc::clone(limiter)),
                    None => worker,
                };
                Box::new(worker) as Box<dyn QueueWorker>
            })
            .collect())
    }

    fn reset(&mut self) {
        if let Some(limiter) = &self.limiter {
            limiter.forgive();
        }
    }
}

impl fmt::Debug for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Block({}, {} bytes, {} queues)", self.name, self.disk.capacity(), self.queue_sizes.len())
    }
}
