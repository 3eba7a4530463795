//! `HvfVm`: one guest on Hypervisor.framework.

use std::{
    collections::BTreeSet,
    fmt, io,
    sync::{Arc, Mutex, PoisonError},
};

use hv_core::{
    arch::{Aarch64, aarch64::IrqPlan},
    hypervisor::{Access, Error, Region, Result, Vm, VmPlan},
    io::{DoorbellHost, NoDoorbellHost},
    irq::IrqChip,
};

use crate::{
    HvfVcpu,
    framework::{Gic, Machine},
    irq::Lines,
    kick::Kickable,
    memory::Mappings,
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
    pub(crate) cores: Vec<Arc<Kickable>>,
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
            cores: (0..plan.vcpus).map(|_| Arc::default()).collect(),
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
    /// An interrupt came: whoever waits for one looks.
    pub(crate) fn wake(&self) {
        for core in &self.cores {
            core.wake();
        }
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
        let refuse = |what| Err(Error::new("hv_vcpu_create", io::Error::new(io::ErrorKind::InvalidInput, what)));
        let Some(kickable) = usize::try_from(index).ok().and_then(|index| self.shared.cores.get(index)) else {
            return refuse(format!("vCPU {index} is not among the {} planned", self.shared.cores.len()));
        };
        if !self.made.lock().unwrap_or_else(PoisonError::into_inner).insert(index) {
            return refuse(format!("vCPU {index} was made already"));
        }
        HvfVcpu::new(index, Arc::clone(kickable), Arc::clone(&self.shared))
    }

    fn seal(&self) -> Result<()> {
        Ok(())
    }

    fn reset(&self) -> Result<()> {
        self.shared.gic.reset()
    }

    fn irq_chip(&self) -> Arc<dyn IrqChip> {
        Arc::new(Lines::new(&self.shared, &self.shared.irq))
    }

    /// The framework watches nothing: every doorbell is an exit.
    fn doorbell_host(&self) -> Arc<dyn DoorbellHost> {
        Arc::new(NoDoorbellHost)
    }
}

impl fmt::Debug for HvfVm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HvfVm({} vCPUs)", self.shared.cores.len())
    }
}
