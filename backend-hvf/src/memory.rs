//! `Mappings`: which pieces of this process's memory the guest sees (`hv_vm_map`).
#![expect(unsafe_code, reason = "shows memory of this process to the guest")]

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use applevisor_sys::{HV_MEMORY_EXEC, HV_MEMORY_READ, HV_MEMORY_WRITE, hv_vm_map, hv_vm_unmap};
use hv_core::hypervisor::{Access, Error, Region, Result};
use vm_memory::{Bytes, GuestMemoryRegion, MemoryRegionAddress};

use crate::framework::{GRANULE, Machine, check};

/// The guest's memory, by guest-physical address.
#[derive(Debug)]
pub(crate) struct Mappings {
    mapped: Mutex<BTreeMap<u64, Arc<Region>>>,
    /// After what it maps.
    _machine: Arc<Machine>,
}

impl Mappings {
    pub(crate) fn new(machine: Arc<Machine>) -> Self {
        Self { mapped: Mutex::default(), _machine: machine }
    }

    fn mapped(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Region>>> {
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
        if let Some((other, region)) = below.filter(|(other, region)| *other + region.len() > base) {
            let there = format!("{base:#x}+{size:#x} overlaps the region at {other:#x}+{:#x}", region.len());
            return Err(invalid(there));
        }
        let flags = match access {
            Access::ReadWrite => HV_MEMORY_READ | HV_MEMORY_WRITE | HV_MEMORY_EXEC,
            Access::ReadOnly => HV_MEMORY_READ | HV_MEMORY_EXEC,
        };
        let length =
            usize::try_from(size).map_err(|_| invalid(format!("{size:#x} bytes are beyond this host")))?;
        // SAFETY: `region` maps `size` bytes from `memory` on, and `mapped` keeps it until it is unmapped or nothing can
        // run the guest: each vCPU shares `self`.
        check("hv_vm_map", unsafe { hv_vm_map(memory.cast(), base, length, flags) })?;
        mapped.insert(base, region);
        Ok(())
    }

    pub(crate) fn unmap(&self, base: u64) -> Result<Arc<Region>> {
        let mut mapped = self.mapped();
        let missing =
            || Error::new("hv_vm_unmap", io::Error::new(io::ErrorKind::NotFound, "no region starts there"));
        hide(base, mapped.get(&base).ok_or_else(missing)?)?;
        mapped.remove(&base).ok_or_else(missing)
    }
}

impl Mappings {
    /// Bytes of the guest's memory at guest-physical `address`, if it has memory there.
    pub(crate) fn read<const N: usize>(&self, address: u64) -> Option<[u8; N]> {
        let mapped = self.mapped();
        let (base, region) = mapped.range(..=address).next_back()?;
        let mut bytes = [0; N];
        region.read_slice(&mut bytes, MemoryRegionAddress(address - base)).ok()?;
        Some(bytes)
    }
}

impl Drop for Mappings {
    /// The guest loses its memory before the memory goes, whether or not the VM does.
    fn drop(&mut self) {
        for (base, region) in &*self.mapped() {
            if let Err(error) = hide(*base, region) {
                tracing::warn!("{base:#x}: {error}");
            }
        }
    }
}

fn hide(base: u64, region: &Region) -> Result<()> {
    let size = usize::try_from(region.len()).unwrap_or(usize::MAX);
    // SAFETY: it takes memory away from the guest and shows none.
    check("hv_vm_unmap", unsafe { hv_vm_unmap(base, size) })
}

fn invalid(what: String) -> Error {
    Error::new("hv_vm_map", io::Error::new(io::ErrorKind::InvalidInput, what))
}
