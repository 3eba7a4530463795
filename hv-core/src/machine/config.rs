//! `MachineConfig`: the size and shape of a machine, as plain data.

use crate::virtio::Transport;

/// The size and shape of a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineConfig {
    /// Number of vCPUs, 1 to [`MOST_CPUS`].
    pub cpus: u32,
    /// RAM in bytes, a multiple of [`GRANULE`](crate::memory::GRANULE).
    pub memory: u64,
    /// How virtio devices are found and driven.
    pub transport: Transport,
}

/// The most vCPUs of machine type `hv-1`.
pub const MOST_CPUS: u32 = 64;
