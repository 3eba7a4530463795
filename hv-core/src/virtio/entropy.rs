//! The entropy device (VIRTIO 1.2, 5.4): random bytes from the host.

#[cfg(test)]
mod tests;

use std::{
    fmt, io,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::Context;

use super::{Activation, Chain, Kind, QueueError, QueueWorker, VirtioDevice, Virtqueue};
use crate::io::{EventLoop, Ready};

/// Most bytes for one request; a device may fill less than the driver's buffer (5.4.6.1).
const MAX_BYTES: usize = 4096;

/// Where random bytes come from: the host's generator. It never ends and does not block for long.
pub type Source = Box<dyn io::Read + Send>;

/// A virtio entropy device.
pub struct Entropy {
    name: String,
    source: Arc<Mutex<Source>>,
}

struct Worker {
    queue: Virtqueue,
    source: Arc<Mutex<Source>>,
}

impl Entropy {
    /// A device that hands out the bytes of `source`.
    pub fn new(name: impl Into<String>, source: Source) -> Self {
        Self { name: name.into(), source: Arc::new(Mutex::new(source)) }
    }
}

impl VirtioDevice for Entropy {
    fn kind(&self) -> Kind {
        Kind::Entropy
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn features(&self) -> u64 {
        0
    }

    fn queue_sizes(&self) -> &[u16] {
        &[64]
    }

    fn read_config(&self, _: usize, _: &mut [u8]) {}

    fn activate(&mut self, with: Activation) -> anyhow::Result<Vec<Box<dyn QueueWorker>>> {
        let queue = with.queues.into_iter().next().flatten().context("the driver enabled no virtqueue")?;
        Ok(vec![Box::new(Worker { queue, source: Arc::clone(&self.source) })])
    }
}

impl QueueWorker for Worker {
    fn queues(&self) -> &[u16] {
        &[0]
    }

    fn serve(&mut self, _: Ready, event_loop: &mut EventLoop) -> Result<(), QueueError> {
        self.queue.disable_doorbell()?;
        for _ in 0..self.queue.size() {
            let Some(chain) = self.queue.pop()? else { break };
            let written = self.fill(&chain)?;
            self.queue.push(chain.head(), written)?;
            self.queue.recycle(chain);
        }
        self.queue.signal()?;
        if self.queue.enable_doorbell()? {
            event_loop.bell(0).ring();
        }
        Ok(())
    }
}

impl Worker {
    /// Fills the beginning of `chain` and says how many bytes that were.
    fn fill(&self, chain: &Chain) -> Result<u32, QueueError> {
        let mut bytes = [0; MAX_BYTES];
        let wanted = MAX_BYTES.min(chain.writable_len() as usize);
        let Some(bytes) = bytes.get_mut(..wanted).filter(|bytes| !bytes.is_empty()) else {
            return Err(self.queue.error("request for random bytes without room for any"));
        };
        let mut source = self.source.lock().unwrap_or_else(PoisonError::into_inner);
        source
            .read_exact(bytes)
            .map_err(|error| self.queue.error(format!("the host has no random bytes: {error}")))?;
        let written = chain.write_at(self.queue.ram(), 0, bytes);
        u32::try_from(written).map_err(|_| self.queue.error("more bytes written than asked for"))
    }
}

impl fmt::Debug for Entropy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Entropy({})", self.name)
    }
}
