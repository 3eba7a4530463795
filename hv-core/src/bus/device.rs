//! `BusDevice`: what answers loads and stores in a window of a bus.

/// Something with registers. It chooses its own locking: the accesses come from every vCPU at once.
pub trait BusDevice: Send + Sync {
    /// A load of `data.len()` bytes (1, 2, 4 or 8) at `offset` into the window; every byte must be set.
    fn read(&self, offset: u64, data: &mut [u8]);
    /// A store of `data.len()` bytes (1, 2, 4 or 8) at `offset` into the window.
    fn write(&self, offset: u64, data: &[u8]);
}
