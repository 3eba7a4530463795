//! `MachineConfig`: the size and shape of a machine, as plain data.

use std::num::NonZeroU32;

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
    /// The most processor time that the vCPUs use together; without, as much as the host gives.
    pub cpu_quota: Option<CpuQuota>,
}

/// A share of the host's processors, in thousandths of one. The guest is not told of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CpuQuota(NonZeroU32);

impl CpuQuota {
    /// 1500 is one and a half processors.
    pub fn of_thousandths(thousandths: NonZeroU32) -> Self {
        Self(thousandths)
    }

    /// Thousandths of a processor.
    pub fn thousandths(self) -> u32 {
        self.0.get()
    }
}

/// The most vCPUs of machine type `hv-1`.
pub const MOST_CPUS: u32 = 64;
