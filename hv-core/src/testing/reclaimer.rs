//! `SoftReclaimer`: a host that zeroes what is given back to it, and remembers it.

use std::{
    fmt, io,
    ops::Range,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
};

use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryRegion};

use crate::{
    hypervisor::{Error, Reclaimer, Result},
    memory::GuestRam,
};

/// Zeroes and remembers what is given back. All clones are the same host.
#[derive(Clone)]
pub struct SoftReclaimer {
    ram: GuestRam,
    granule: u64,
    reclaimed: Arc<Mutex<Vec<Range<u64>>>>,
    refuses: Arc<AtomicBool>,
}

impl SoftReclaimer {
    /// A host with pages of `granule` bytes.
    pub fn new(ram: GuestRam, granule: u64) -> Self {
        Self { ram, granule, reclaimed: Arc::default(), refuses: Arc::default() }
    }

    /// What was given back since the last call, in order.
    pub fn take(&self) -> Vec<Range<u64>> {
        std::mem::take(&mut *self.reclaimed.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// From now on the host refuses, or does not.
    pub fn refuse(&self, refuses: bool) {
        self.refuses.store(refuses, SeqCst);
    }
}

impl Reclaimer for SoftReclaimer {
    fn granule(&self) -> u64 {
        self.granule
    }

    /// # Panics
    /// The range is not made of granules of one region.
    fn reclaim(&self, range: Range<u64>) -> Result<()> {
        assert!(!range.is_empty(), "nothing is given back");
        assert_eq!((range.start % self.granule, range.end % self.granule), (0, 0), "{range:#x?}");
        let region = self.ram.find_region(GuestAddress(range.start)).expect("RAM is given back");
        assert!(range.end - 1 <= region.last_addr().0, "{range:#x?} is not one region's");
        if self.refuses.load(SeqCst) {
            return Err(Error::new("reclaim", io::Error::other("the test refuses")));
        }
        let page = vec![0; usize::try_from(self.granule).expect("a small granule")];
        for address in range.clone().step_by(page.len()) {
            self.ram.write_slice(&page, GuestAddress(address)).expect("it is RAM");
        }
        self.reclaimed.lock().unwrap_or_else(PoisonError::into_inner).push(range);
        Ok(())
    }
}

impl fmt::Debug for SoftReclaimer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SoftReclaimer({:#x})", self.granule)
    }
}
