//! `HvfVm`: one guest on Hypervisor.framework.

use std::{
    collections::BTreeSet,
    fmt, io,
    sync::{Arc, Mutex, PoisonError},
};

use hv_core::{
    arch::{
        Aarch64,
        aarch64::{IrqPlan, REDISTRIBUTOR_SIZE},
    },
    hypervisor::{Access, Error, Reclaimer, Region, Result, Vm, VmPlan},
    io::{DoorbellHost, NoDoorbellHost},
    irq::IrqChip,
};

use crate::{
    HvfVcpu,
    cores::Cores,
    framework::{Core, Gic, Machine},
    irq::Lines,
    memory::{Mappings, Pages},
};

/// One guest on Hypervisor.framework.
pub struct HvfVm {
    shared: Arc<Shared>,
    made: Mutex<BTreeSet<u32>>,
}

/// What the VM and its cores share. The framework's VM goes with the last of them.
pub(crate) struct Shared {
    pub(crate) mappings: Mappings,
    pub(crate) gic: Gic,
    pub(crate) irq: IrqPlan,
    pub(crate) address_bits: u8,
    pub(crate) cores: Arc<Cores>,
    _machine: Arc<Machine>,
}

impl HvfVm {
    pub(crate) fn new(plan: &VmPlan<Aarch64>) -> Result<Self> {
        let machine = Arc::new(Machine::create(Some(plan.address_bits))?);
        let gic = Gic::create(&machine, &plan.irq)?;
        let shared = Shared {
            mappings: Mappings::new(Arc::clone(&machine)),
            gic,
            irq: plan.irq.clone(),
            address_bits: plan.address_bits,
            cores: Arc::new(Cores::new(plan.vcpus, plan.address_bits)),
            _machine: machine,
        };
        Ok(Self { shared: Arc::new(shared), made: Mutex::default() })
    }

    /// The state of distributor and redistributors, in the framework's own format. Only while no core runs.
    ///
    /// # Errors
    /// The framework cannot tell it.
    pub fn interrupt_controller_state(&self) -> Result<Vec<u8>> {
        self.shared.gic.state()
    }

    /// Brings a state of [`interrupt_controller_state`](Self::interrupt_controller_state) back. Only while no core runs.
    ///
    /// # Errors
    /// The framework does not take it.
    pub fn set_interrupt_controller_state(&self, state: &[u8]) -> Result<()> {
        self.shared.gic.set_state(state)
    }
}

impl Shared {
    /// The framework has put core `index`'s redistributor where the guest will look for it: it goes by affinity, in the
    /// window that the plan has for all of them.
    pub(crate) fn check_redistributor(&self, core: &Core, index: u32) -> Result<()> {
        let base = core.redistributor_base()?;
        let room = self.cores.len() as u64 * REDISTRIBUTOR_SIZE;
        let window = self.irq.redistributors..self.irq.redistributors.saturating_add(room);
        if window.contains(&base) {
            return Ok(());
        }
        let astray =
            format!("the redistributor of vCPU {index} is at {base:#x}, which is not in {window:#x?}");
        Err(Error::new("hv_gic_get_redistributor_base", io::Error::other(astray)))
    }
}

impl Vm for HvfVm {
    type Arch = Aarch64;
    type Vcpu = HvfVcpu;

    fn map(&self, region: Arc<Region>, access: Access) -> Result<()> {
        self.shared.mappings.map(region, access)
    }

    fn unmap(&self, base: u64) -> Result<Arc<Region>> {
        self.shared.mappings.unmap(base)
    }

    fn create_vcpu(&self, index: u32) -> Result<HvfVcpu> {
        let refuse =
            |what| Err(Error::new("hv_vcpu_create", io::Error::new(io::ErrorKind::InvalidInput, what)));
        if usize::try_from(index).is_ok_and(|index| index >= self.shared.cores.len()) {
            return refuse(format!("vCPU {index} is not among the {} planned", self.shared.cores.len()));
        }
        if !self.made.lock().unwrap_or_else(PoisonError::into_inner).insert(index) {
            return refuse(format!("vCPU {index} was made already"));
        }
        HvfVcpu::new(index, Arc::clone(&self.shared))
    }

    fn seal(&self) -> Result<()> {
        Ok(())
    }

    fn reset(&self) -> Result<()> {
        self.shared.cores.power.reset();
        self.shared.gic.reset()
    }

    fn irq_chip(&self) -> Arc<dyn IrqChip> {
        Arc::new(Lines::new(&self.shared, &self.shared.irq))
    }

    /// The framework watches nothing: every doorbell is an exit.
    fn doorbell_host(&self) -> Arc<dyn DoorbellHost> {
        Arc::new(NoDoorbellHost)
    }

    fn reclaimer(&self) -> Arc<dyn Reclaimer> {
        Arc::new(Pages::new(&self.shared))
    }
}

impl fmt::Debug for HvfVm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HvfVm({} vCPUs)", self.shared.cores.len())
    }
}

#[cfg(all(test, feature = "simulated"))]
mod tests;
