//! `Slots`: which pieces of this process's memory the guest sees (`KVM_SET_USER_MEMORY_REGION`).
#![expect(unsafe_code, reason = "shows memory of this process to the guest")]

use std::{
    collections::BTreeMap,
    io,
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use hv_core::hypervisor::{Access, Error, Reclaimer, Region, Result};
use kvm_bindings::{KVM_MEM_READONLY, kvm_userspace_memory_region};
use kvm_ioctls::VmFd;
use rustix::param::page_size;
use vm_memory::{GuestMemoryRegion, MemoryRegionAddress};

const OPERATION: &str = "KVM_SET_USER_MEMORY_REGION";
const RECLAIM: &str = "madvise";

/// The guest's memory slots, by number.
pub(crate) struct Slots {
    // First: the guest loses its memory before the memory goes.
    vm: Arc<VmFd>,
    mapped: Mutex<BTreeMap<u32, Slot>>,
}

struct Slot {
    region: Arc<Region>,
    access: Access,
}

/// Gives pages of a guest's memory back, while there is the guest.
pub(crate) struct Pages(Weak<Slots>);

impl Slots {
    pub(crate) fn new(vm: Arc<VmFd>) -> Self {
        Self { vm, mapped: Mutex::default() }
    }

    fn mapped(&self) -> MutexGuard<'_, BTreeMap<u32, Slot>> {
        self.mapped.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn map(&self, region: Arc<Region>, access: Access) -> Result<()> {
        let mut mapped = self.mapped();
        let slot = (0..).find(|slot| !mapped.contains_key(slot)).unwrap_or(u32::MAX);
        let memory = region
            .get_host_address(MemoryRegionAddress(0))
            .map_err(|error| Error::new(OPERATION, io::Error::other(error)))?;
        let description = kvm_userspace_memory_region {
            slot,
            flags: if access == Access::ReadOnly { KVM_MEM_READONLY } else { 0 },
            guest_phys_addr: region.start_addr().0,
            memory_size: region.len(),
            userspace_addr: memory.addr() as u64,
        };
        // SAFETY: `region` maps `memory_size` bytes from `userspace_addr` on, and `mapped` keeps it until the slot is
        // gone or nothing can run the guest: each vCPU shares `self`.
        unsafe { self.vm.set_user_memory_region(description) }
            .map_err(|error| Error::new(OPERATION, error))?;
        want_huge_pages(memory.cast(), description.memory_size);
        mapped.insert(slot, Slot { region, access });
        Ok(())
    }

    pub(crate) fn unmap(&self, base: u64) -> Result<Arc<Region>> {
        let mut mapped = self.mapped();
        let found = mapped.iter().find(|(_, slot)| slot.region.start_addr().0 == base);
        let found = found.map(|(number, _)| *number);
        let missing =
            || Error::new(OPERATION, io::Error::new(io::ErrorKind::NotFound, "no region starts there"));
        let slot = found.ok_or_else(missing)?;
        let description = kvm_userspace_memory_region { slot, ..Default::default() };
        // SAFETY: a size of 0 takes the slot away; no memory is shown.
        unsafe { self.vm.set_user_memory_region(description) }
            .map_err(|error| Error::new(OPERATION, error))?;
        mapped.remove(&slot).map(|slot| slot.region).ok_or_else(missing)
    }

    /// Drops the pages of `range`. KVM hears of it and takes them from the guest, who gets new ones at its next touch, as
    /// do the threads of this process.
    fn reclaim(&self, range: &Range<u64>) -> Result<()> {
        let refused = |what: &str| {
            let line = format!("{:#x}..{:#x}: {what}", range.start, range.end);
            Error::new(RECLAIM, io::Error::new(io::ErrorKind::InvalidInput, line))
        };
        let page = page_size() as u64;
        if range.is_empty() || !range.start.is_multiple_of(page) || !range.end.is_multiple_of(page) {
            return Err(refused("not whole pages"));
        }
        // Held until the pages are gone, so that the region is there.
        let mapped = self.mapped();
        let holds = |slot: &&Slot| {
            let (start, last) = (slot.region.start_addr().0, slot.region.last_addr().0);
            slot.access == Access::ReadWrite && start <= range.start && range.end - 1 <= last
        };
        let slot = mapped.values().find(holds).ok_or_else(|| refused("not of one region of RAM"))?;
        let offset = MemoryRegionAddress(range.start - slot.region.start_addr().0);
        let memory = slot.region.get_host_address(offset).map_err(|_| refused("not mapped here"))?;
        let size = usize::try_from(range.end - range.start).map_err(|_| refused("beyond this host"))?;
        // SAFETY: the region maps `size` bytes from `memory` on and goes on doing so; what is there may change at any
        // time, since it is a guest's.
        match unsafe { libc::madvise(memory.cast(), size, libc::MADV_DONTNEED) } {
            0 => Ok(()),
            _ => Err(Error::new(RECLAIM, io::Error::last_os_error())),
        }
    }
}

impl Pages {
    pub(crate) fn new(slots: &Arc<Slots>) -> Self {
        Self(Arc::downgrade(slots))
    }
}

impl Reclaimer for Pages {
    fn granule(&self) -> u64 {
        page_size() as u64
    }

    fn reclaim(&self, range: Range<u64>) -> Result<()> {
        self.0.upgrade().map_or(Ok(()), |slots| slots.reclaim(&range))
    }
}

/// Asks for large pages, with which a guest's first touch of its memory costs a fault for each 2 MiB and not for each
/// 4 KiB. A host that has none to give is no worse.
fn want_huge_pages(memory: *mut libc::c_void, size: u64) {
    let Ok(size) = usize::try_from(size) else { return };
    // SAFETY: advice about memory that the caller's region maps; it changes no content.
    unsafe { libc::madvise(memory, size, libc::MADV_HUGEPAGE) };
}
