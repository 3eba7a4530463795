//! `Slots`: which pieces of this process's memory the guest sees (`KVM_SET_USER_MEMORY_REGION`).
#![expect(unsafe_code, reason = "shows memory of this process to the guest")]

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use hv_core::hypervisor::{Access, Error, Region, Result};
use kvm_bindings::{KVM_MEM_READONLY, kvm_userspace_memory_region};
use kvm_ioctls::VmFd;
use vm_memory::{GuestMemoryRegion, MemoryRegionAddress};

const OPERATION: &str = "KVM_SET_USER_MEMORY_REGION";

/// The guest's memory slots, by number.
pub(crate) struct Slots {
    // First: the guest loses its memory before the memory goes.
    vm: Arc<VmFd>,
    mapped: Mutex<BTreeMap<u32, Arc<Region>>>,
}

impl Slots {
    pub(crate) fn new(vm: Arc<VmFd>) -> Self {
        Self { vm, mapped: Mutex::default() }
    }

    fn mapped(&self) -> MutexGuard<'_, BTreeMap<u32, Arc<Region>>> {
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
        mapped.insert(slot, region);
        Ok(())
    }

    pub(crate) fn unmap(&self, base: u64) -> Result<Arc<Region>> {
        let mut mapped = self.mapped();
        let found = mapped.iter().find(|(_, region)| region.start_addr().0 == base).map(|(slot, _)| *slot);
        let missing =
            || Error::new(OPERATION, io::Error::new(io::ErrorKind::NotFound, "no region starts there"));
        let slot = found.ok_or_else(missing)?;
        let description = kvm_userspace_memory_region { slot, ..Default::default() };
        // SAFETY: a size of 0 takes the slot away; no memory is shown.
        unsafe { self.vm.set_user_memory_region(description) }
            .map_err(|error| Error::new(OPERATION, error))?;
        mapped.remove(&slot).ok_or_else(missing)
    }
}

/// Asks for large pages, with which a guest's first touch of its memory costs a fault for each 2 MiB and not for each
/// 4 KiB. A host that has none to give is no worse.
fn want_huge_pages(memory: *mut libc::c_void, size: u64) {
    let Ok(size) = usize::try_from(size) else { return };
    // SAFETY: advice about memory that the caller's region maps; it changes no content.
    unsafe { libc::madvise(memory, size, libc::MADV_HUGEPAGE) };
}
