//! `Statistics`: how a guest uses its memory, as its driver tells it (VIRTIO 1.2, 5.5.6.3).

/// How a guest uses its memory: what its driver told, which is what it knows. Memory is in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Statistics {
    /// Swapped in since the guest started.
    pub swap_in: Option<u64>,
    /// Swapped out since the guest started.
    pub swap_out: Option<u64>,
    /// Page faults that waited for a disk.
    pub major_faults: Option<u64>,
    /// Page faults that did not.
    pub minor_faults: Option<u64>,
    /// Memory that is used for nothing.
    pub free: Option<u64>,
    /// Memory in all.
    pub total: Option<u64>,
    /// Memory that programs could get without swapping.
    pub available: Option<u64>,
    /// Memory that caches files.
    pub caches: Option<u64>,
    /// Huge pages that were given to programs.
    pub huge_pages_given: Option<u64>,
    /// Huge pages that could not be given.
    pub huge_pages_missed: Option<u64>,
}

/// Bytes of one statistic: its tag (2 bytes), its value (8 bytes).
const ENTRY: usize = 10;

/// Bytes of a buffer that are looked at: several times as many statistics as there are.
pub(super) const MOST_BYTES: usize = 64 * ENTRY;

impl Statistics {
    /// Reads a driver's buffer. Tags that are not known, and what is no whole entry at the end, are left out.
    pub(super) fn parse(buffer: &[u8]) -> Self {
        let mut statistics = Self::default();
        for entry in buffer.chunks_exact(ENTRY) {
            let Ok([t0, t1, value @ ..]) = <[u8; ENTRY]>::try_from(entry) else { break };
            let field = match u16::from_le_bytes([t0, t1]) {
                0 => &mut statistics.swap_in,
                1 => &mut statistics.swap_out,
                2 => &mut statistics.major_faults,
                3 => &mut statistics.minor_faults,
                4 => &mut statistics.free,
                5 => &mut statistics.total,
                6 => &mut statistics.available,
                7 => &mut statistics.caches,
                8 => &mut statistics.huge_pages_given,
                9 => &mut statistics.huge_pages_missed,
                _ => continue,
            };
            *field = Some(u64::from_le_bytes(value));
        }
        statistics
    }
}
