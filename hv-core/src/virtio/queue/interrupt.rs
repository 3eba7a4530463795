//! How a device tells its driver something, without knowing the transport.

use std::{fmt, sync::Arc};

/// How a transport tells the driver something. Any thread, any time.
pub trait InterruptSink: Send + Sync {
    /// Buffers of `queue` were used.
    fn queue_used(&self, queue: u16);
    /// The configuration space changed, or the device needs a reset.
    fn config_changed(&self);
}

/// Tells the driver that buffers of one virtqueue were used.
#[derive(Clone)]
pub struct QueueInterrupt {
    sink: Arc<dyn InterruptSink>,
    queue: u16,
}

/// Tells the driver that the configuration space changed.
#[derive(Clone)]
pub struct ConfigInterrupt(Arc<dyn InterruptSink>);

impl QueueInterrupt {
    /// The interrupt of `queue`.
    pub fn new(sink: Arc<dyn InterruptSink>, queue: u16) -> Self {
        Self { sink, queue }
    }

    /// Interrupts the driver.
    pub fn fire(&self) {
        self.sink.queue_used(self.queue);
    }
}

impl ConfigInterrupt {
    /// The configuration interrupt of a transport.
    pub fn new(sink: Arc<dyn InterruptSink>) -> Self {
        Self(sink)
    }

    /// Interrupts the driver: after the change, which it then reads.
    pub fn fire(&self) {
        self.0.config_changed();
    }
}

impl fmt::Debug for QueueInterrupt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "QueueInterrupt({})", self.queue)
    }
}

impl fmt::Debug for ConfigInterrupt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ConfigInterrupt")
    }
}
