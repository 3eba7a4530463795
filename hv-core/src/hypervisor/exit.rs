//! `Exit`: why a vCPU came back to the machine.

/// The reasons for which [`Vcpu::run`](super::Vcpu::run) returns.
///
/// Halting, power states of other cores, timers and system registers are the backend's own business.
#[derive(Debug, PartialEq, Eq)]
pub enum Exit<'a> {
    /// A load from an address without RAM; `data` (1, 2, 4 or 8 bytes, little-endian) takes the answer.
    MmioRead {
        /// Guest-physical address.
        address: u64,
        /// Where the answer goes.
        data: &'a mut [u8],
    },
    /// A store to an address without RAM (or with read-only RAM).
    MmioWrite {
        /// Guest-physical address.
        address: u64,
        /// The bytes stored, little-endian.
        data: &'a [u8],
    },
    /// `IN` from one port (x86 only): `data` takes one access of 1, 2 or 4 bytes.
    PioRead {
        /// I/O port.
        port: u16,
        /// Where the answer goes.
        data: &'a mut [u8],
    },
    /// `OUT` to one port (x86 only): one access of 1, 2 or 4 bytes.
    PioWrite {
        /// I/O port.
        port: u16,
        /// The bytes written, little-endian.
        data: &'a [u8],
    },
    /// [`Kick::kick`](super::Kick::kick) was called since the last `Kicked`.
    Kicked,
    /// The guest cannot go on as it is.
    Stop(Stop),
}

/// How a guest ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    /// The guest asked to be switched off.
    PowerOff,
    /// The guest asked to be reset.
    Reset,
    /// The guest cannot run any further: triple fault, invalid state. One line that says which.
    Crash(String),
}
