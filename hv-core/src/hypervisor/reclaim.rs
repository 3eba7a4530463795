//! `Reclaimer`: guest RAM that the guest does not need goes back to the host.

use std::ops::Range;

use super::Result;

/// What gives guest RAM back to the host. It may outlive its machine, and does nothing then. Any thread, any time.
pub trait Reclaimer: Send + Sync {
    /// Bytes of the smallest piece, a power of two: the host's page.
    fn granule(&self) -> u64;

    /// Gives guest-physical `range`, whole granules of one region, back to the host. It stays RAM, in the same place for
    /// the guest and for this process, and reads as zeroes until somebody writes to it.
    ///
    /// The guest has said that it does not use the range. A core that does all the same finds old bytes, new bytes or
    /// zeroes, and may wait until this returns: it hurts nobody but its own guest.
    ///
    /// # Errors
    /// The range is not made of granules of one region that the guest may write to, or the host refuses. What it held
    /// may be lost then.
    fn reclaim(&self, range: Range<u64>) -> Result<()>;
}

/// A host that takes nothing back: the range stays as it is.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoReclaimer;

impl Reclaimer for NoReclaimer {
    fn granule(&self) -> u64 {
        4096
    }

    fn reclaim(&self, _: Range<u64>) -> Result<()> {
        Ok(())
    }
}
