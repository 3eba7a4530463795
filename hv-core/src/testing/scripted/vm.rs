//! `ScriptedVm`: mapped RAM, a chip that records, doorbells watched by sockets.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{Error as IoError, ErrorKind},
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
};

use vm_memory::{Bytes, GuestAddress, GuestMemoryRegion, MemoryRegionAddress};

use super::{Script, Scripted, ScriptedArch, ScriptedVcpu};
use crate::{
    arch::X86_64,
    hypervisor::{Access, Error, NoReclaimer, Reclaimer, Region, Result, Vm},
    io::DoorbellHost,
    irq::IrqChip,
};

/// A machine of scripted cores.
pub struct ScriptedVm<A: ScriptedArch = X86_64> {
    host: Scripted<A>,
    memory: Arc<Memory>,
    vcpus: u32,
    made: Mutex<BTreeSet<u32>>,
}

/// What is mapped, by first address.
#[derive(Default)]
pub(super) struct Memory(RwLock<BTreeMap<u64, (Arc<Region>, Access)>>);

impl<A: ScriptedArch> ScriptedVm<A> {
    pub(super) fn new(host: Scripted<A>, vcpus: u32) -> Self {
        Self { host, memory: Arc::default(), vcpus, made: Mutex::default() }
    }

    fn script(&self, index: u32) -> Script {
        usize::try_from(index)
            .ok()
            .and_then(|index| self.host.scripts.get(index))
            .cloned()
            .unwrap_or_default()
    }

    fn made(&self) -> MutexGuard<'_, BTreeSet<u32>> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<A: ScriptedArch> Vm for ScriptedVm<A> {
    type Arch = A;
    type Vcpu = ScriptedVcpu<A>;

    fn map(&self, region: Arc<Region>, access: Access) -> Result<()> {
        let base = region.start_addr().0;
        let end = base + region.len();
        let mut regions = self.memory.0.write().unwrap_or_else(PoisonError::into_inner);
        if regions.values().any(|(other, _)| other.start_addr().0 < end && base <= other.last_addr().0) {
            return Err(Error::new("map", ErrorKind::AlreadyExists));
        }
        regions.insert(base, (region, access));
        Ok(())
    }

    fn unmap(&self, base: u64) -> Result<Arc<Region>> {
        let mut regions = self.memory.0.write().unwrap_or_else(PoisonError::into_inner);
        regions
            .remove(&base)
            .map(|(region, _)| region)
            .ok_or_else(|| Error::new("unmap", ErrorKind::NotFound))
    }

    fn create_vcpu(&self, index: u32) -> Result<ScriptedVcpu<A>> {
        if index >= self.vcpus || !self.made().insert(index) {
            return Err(Error::new(
                "create_vcpu",
                IoError::other(format!("core {index} is taken or not planned")),
            ));
        }
        self.host.check("create_vcpu", index)?;
        super::lock(&self.host.made).push(index);
        Ok(ScriptedVcpu::new(index, self.script(index), self.host.clone(), Arc::clone(&self.memory)))
    }

    fn seal(&self) -> Result<()> {
        let missing = (0..self.vcpus).find(|index| !self.made().contains(index));
        match missing {
            Some(index) => Err(Error::new("seal", IoError::other(format!("core {index} is missing")))),
            None => Ok(()),
        }
    }

    fn reset(&self) -> Result<()> {
        self.host.chip.reset();
        Ok(())
    }

    fn irq_chip(&self) -> Arc<dyn IrqChip> {
        self.host.chip.clone()
    }

    fn doorbell_host(&self) -> Arc<dyn DoorbellHost> {
        Arc::new(self.host.doorbells.clone())
    }

    fn reclaimer(&self) -> Arc<dyn Reclaimer> {
        Arc::new(NoReclaimer)
    }
}

impl Memory {
    /// A core's store, if there is RAM that takes it.
    pub(super) fn store(&self, address: u64, data: &[u8]) -> bool {
        self.find(address, |region, offset, access| {
            access == Access::ReadWrite && region.write_slice(data, offset).is_ok()
        })
    }

    /// A core's load, if there is RAM that answers it.
    pub(super) fn load(&self, address: u64, data: &mut [u8]) -> bool {
        self.find(address, |region, offset, _| region.read_slice(data, offset).is_ok())
    }

    fn find(&self, address: u64, act: impl FnOnce(&Region, MemoryRegionAddress, Access) -> bool) -> bool {
        let regions = self.0.read().unwrap_or_else(PoisonError::into_inner);
        regions.range(..=address).next_back().is_some_and(|(_, (region, access))| {
            region.to_region_addr(GuestAddress(address)).is_some_and(|offset| act(region, offset, *access))
        })
    }
}
