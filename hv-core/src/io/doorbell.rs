//! `Doorbell`: a guest store that means "look at this queue", which some hosts can turn into a descriptor.

use std::{any::Any, fmt, os::fd::OwnedFd};

/// A store, of any width and value, to this guest-physical address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Doorbell {
    /// Guest-physical address.
    pub address: u64,
    /// Only stores of this value (4 bytes wide) if given: the virtio-mmio transport has one address for all queues.
    pub value: Option<u32>,
}

/// What may watch doorbells without an exit of the vCPU.
pub trait DoorbellHost: Send + Sync {
    /// Has the host watch `doorbell`, or says that it cannot: then the store arrives as an exit.
    fn watch(&self, doorbell: Doorbell) -> Option<WatchedDoorbell>;
}

/// A doorbell that the host watches until this is dropped.
pub struct WatchedDoorbell {
    /// Becomes readable at each store; never read, watched for edges only.
    pub fd: OwnedFd,
    _watch: Box<dyn Any + Send + Sync>,
}

impl WatchedDoorbell {
    /// `fd` rings until `watch` is dropped.
    pub fn new(fd: OwnedFd, watch: impl Any + Send + Sync) -> Self {
        Self { fd, _watch: Box::new(watch) }
    }
}

impl fmt::Debug for WatchedDoorbell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WatchedDoorbell({:?})", self.fd)
    }
}

/// A host that watches none: every doorbell arrives as an exit.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoDoorbellHost;

impl DoorbellHost for NoDoorbellHost {
    fn watch(&self, _: Doorbell) -> Option<WatchedDoorbell> {
        None
    }
}
