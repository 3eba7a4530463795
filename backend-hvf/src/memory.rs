//! `Mappings`: which pieces of this process's memory the guest sees (`hv_vm_map`).
#![expect(unsafe_code, reason = "shows memory of this process to the guest")]

use std::{
    collections::BTreeMap,
    io,
    ops::Range,
    ptr::NonNull,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use applevisor_sys::{HV_MEMORY_EXEC, HV_MEMORY_READ, HV_MEMORY_WRITE, hv_vm_map, hv_vm_unmap};
use hv_core::hypervisor::{Access, Error, Reclaimer, Region, Result};
use vm_memory::{Bytes, GuestMemoryRegion, MemoryRegionAddress};

use crate::{
    framework::{GRANULE, Machine, check},
    vm::Shared,
};

const RECLAIM: &str = "hv_vm_unmap, mmap, hv_vm_map";
/// What a core that came by has before more pages go.
const GRACE: Duration = Duration::from_millis(1);

/// The guest's memory, by guest-physical address.
#[derive(Debug)]
pub(crate) struct Mappings {
    mapped: Mutex<BTreeMap<u64, Mapped>>,
    /// A core came by while pages were being given back.
    is_awaited: AtomicBool,
    /// After what it maps.
    _machine: Arc<Machine>,
}

#[derive(Debug)]
struct Mapped {
    region: Arc<Region>,
    access: Access,
    /// The host did not map a piece of it again.
    is_torn: bool,
}

/// Gives pages of a guest's memory back, while there is the guest.
pub(crate) struct Pages(Weak<Shared>);

impl Mappings {
    pub(crate) fn new(machine: Arc<Machine>) -> Self {
        Self { mapped: Mutex::default(), is_awaited: AtomicBool::new(false), _machine: machine }
    }

    fn mapped(&self) -> MutexGuard<'_, BTreeMap<u64, Mapped>> {
        self.mapped.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn map(&self, region: Arc<Region>, access: Access) -> Result<()> {
        let (base, size) = (region.start_addr().0, region.len());
        let memory = region
            .get_host_address(MemoryRegionAddress(0))
            .map_err(|error| Error::new("hv_vm_map", io::Error::other(error)))?;
        if base % GRANULE != 0 || size % GRANULE != 0 {
            return Err(invalid(format!("{base:#x}+{size:#x} is not made of pages of {GRANULE:#x} bytes")));
        }
        let mut mapped = self.mapped();
        // One that begins below our end is in the way if it ends above our base; those before it end before it begins.
        let below = mapped.range(..base.saturating_add(size)).next_back();
        if let Some((other, mapped)) = below.filter(|(other, mapped)| *other + mapped.region.len() > base) {
            let there =
                format!("{base:#x}+{size:#x} overlaps the region at {other:#x}+{:#x}", mapped.region.len());
            return Err(invalid(there));
        }
        let length =
            usize::try_from(size).map_err(|_| invalid(format!("{size:#x} bytes are beyond this host")))?;
        // SAFETY: `region` maps `size` bytes from `memory` on, and `mapped` keeps it until it is unmapped or nothing can
        // run the guest: each vCPU shares `self`.
        check("hv_vm_map", unsafe { hv_vm_map(memory.cast(), base, length, flags(access)) })?;
        mapped.insert(base, Mapped { region, access, is_torn: false });
        Ok(())
    }

    pub(crate) fn unmap(&self, base: u64) -> Result<Arc<Region>> {
        let mut mapped = self.mapped();
        let missing =
            || Error::new("hv_vm_unmap", io::Error::new(io::ErrorKind::NotFound, "no region starts there"));
        hide(base, mapped.get(&base).ok_or_else(missing)?.region.len())?;
        mapped.remove(&base).map(|mapped| mapped.region).ok_or_else(missing)
    }

    /// Puts fresh pages in the place of those of `range`. To advise the host that they are free is not enough there: it
    /// keeps them, or forgets to count them when they are used again. The guest has no memory there meanwhile; a core
    /// that comes by takes an abort, and waits in [`holds`](Self::holds) for the end of this.
    fn reclaim(&self, range: &Range<u64>) -> Result<()> {
        let refused = |what: &str| {
            let line = format!("{:#x}..{:#x}: {what}", range.start, range.end);
            Error::new(RECLAIM, io::Error::new(io::ErrorKind::InvalidInput, line))
        };
        if range.is_empty() || !range.start.is_multiple_of(GRANULE) || !range.end.is_multiple_of(GRANULE) {
            return Err(refused("not whole pages"));
        }
        // Neither the lock nor the guest's memory is shared out fairly: a thread that gives back one range after the other
        // could keep a core from its instruction for ever.
        if self.is_awaited.swap(false, Relaxed) {
            thread::sleep(GRACE);
        }
        let mut mapped = self.mapped();
        let below = mapped.range_mut(..=range.start).next_back();
        let (base, mapped) = below
            .filter(|(base, mapped)| {
                mapped.access == Access::ReadWrite && range.end <= *base + mapped.region.len()
            })
            .ok_or_else(|| refused("not of one region of RAM"))?;
        let offset = MemoryRegionAddress(range.start - base);
        let memory = mapped.region.get_host_address(offset).ok().and_then(NonNull::new);
        let memory = memory.ok_or_else(|| refused("not mapped here"))?;
        let size = usize::try_from(range.end - range.start).map_err(|_| refused("beyond this host"))?;
        hide(range.start, range.end - range.start)?;
        let renewed = renew(memory, size);
        // SAFETY: the region maps `size` bytes from `memory` on, with old pages or new ones, and `mapped` keeps it.
        let shown = check("hv_vm_map", unsafe {
            hv_vm_map(memory.as_ptr().cast(), range.start, size, flags(mapped.access))
        });
        mapped.is_torn |= shown.is_err();
        renewed.and(shown)
    }

    /// Whether the guest has memory at guest-physical `address`: an abort there came from a page that was given back in
    /// that moment. Waits until it is there again.
    pub(crate) fn holds(&self, address: u64) -> bool {
        let mapped = self.mapped.try_lock().unwrap_or_else(|_| {
            self.is_awaited.store(true, Relaxed);
            self.mapped()
        });
        let below = mapped.range(..=address).next_back();
        let holds =
            below.is_some_and(|(base, mapped)| address - base < mapped.region.len() && !mapped.is_torn);
        if holds {
            self.is_awaited.store(true, Relaxed);
        }
        holds
    }

    /// Bytes of the guest's memory at guest-physical `address`, if it has memory there.
    pub(crate) fn read<const N: usize>(&self, address: u64) -> Option<[u8; N]> {
        let mapped = self.mapped();
        let (base, mapped) = mapped.range(..=address).next_back()?;
        let mut bytes = [0; N];
        mapped.region.read_slice(&mut bytes, MemoryRegionAddress(address - base)).ok()?;
        Some(bytes)
    }
}

impl Drop for Mappings {
    /// The guest loses its memory before the memory goes, whether or not the VM does.
    fn drop(&mut self) {
        for (base, mapped) in &*self.mapped() {
            if let Err(error) = hide(*base, mapped.region.len()) {
                tracing::warn!("{base:#x}: {error}");
            }
        }
    }
}

impl Pages {
    pub(crate) fn new(vm: &Arc<Shared>) -> Self {
        Self(Arc::downgrade(vm))
    }
}

impl Reclaimer for Pages {
    fn granule(&self) -> u64 {
        GRANULE
    }

    fn reclaim(&self, range: Range<u64>) -> Result<()> {
        self.0.upgrade().map_or(Ok(()), |vm| vm.mappings.reclaim(&range))
    }
}

fn flags(access: Access) -> u64 {
    match access {
        Access::ReadWrite => HV_MEMORY_READ | HV_MEMORY_WRITE | HV_MEMORY_EXEC,
        Access::ReadOnly => HV_MEMORY_READ | HV_MEMORY_EXEC,
    }
}

/// New zeroed pages at once in the place of `size` bytes from `memory` on, which are a guest's RAM.
fn renew(memory: NonNull<u8>, size: usize) -> Result<()> {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let kind = libc::MAP_PRIVATE | libc::MAP_ANON | libc::MAP_NORESERVE | libc::MAP_FIXED;
    // SAFETY: it replaces pages of a guest's RAM, mapped in the same way, whose content may change at any time; at no
    // time is there nothing, so that threads of this process may go on reading and writing them.
    let new = unsafe { libc::mmap(memory.as_ptr().cast(), size, protection, kind, -1, 0) };
    if new == libc::MAP_FAILED {
        return Err(Error::new(RECLAIM, io::Error::last_os_error()));
    }
    Ok(())
}

fn hide(base: u64, size: u64) -> Result<()> {
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    // SAFETY: it takes memory away from the guest and shows none.
    check("hv_vm_unmap", unsafe { hv_vm_unmap(base, size) })
}

fn invalid(what: String) -> Error {
    Error::new("hv_vm_map", io::Error::new(io::ErrorKind::InvalidInput, what))
}
