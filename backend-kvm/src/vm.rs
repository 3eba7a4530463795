//! `KvmVm`: one guest on KVM.

use std::{fmt, io, sync::Arc};

use hv_core::{
    hypervisor::{Access, Error, Reclaimer, Region, Result, Vm, VmPlan},
    io::DoorbellHost,
    irq::IrqChip,
};
use kvm_ioctls::VmFd;

use crate::{
    KvmVcpu,
    arch::{self, Chips, Guest, Lines, Template},
    doorbell::Doorbells,
    memory::{Pages, Slots},
};

/// One guest on KVM.
pub struct KvmVm {
    fd: Arc<VmFd>,
    /// Shared with the cores: what the guest sees stays mapped while one of them can run.
    slots: Arc<Slots>,
    chips: Chips,
    lines: Arc<Lines>,
    template: Template,
    vcpus: u32,
}

impl KvmVm {
    pub(crate) fn new(kvm: &kvm_ioctls::Kvm, plan: &VmPlan<Guest>) -> Result<Self> {
        let fd = Arc::new(arch::create_vm(kvm, plan)?);
        let chips = Chips::new(&fd, &plan.irq, plan.vcpus)?;
        let template = Template::new(kvm, &fd, plan.vcpus)?;
        let lines = Arc::new(Lines::new(Arc::clone(&fd), &plan.irq));
        Ok(Self {
            slots: Arc::new(Slots::new(Arc::clone(&fd))),
            fd,
            chips,
            lines,
            template,
            vcpus: plan.vcpus,
        })
    }
}

impl Vm for KvmVm {
    type Arch = Guest;
    type Vcpu = KvmVcpu;

    fn map(&self, region: Arc<Region>, access: Access) -> Result<()> {
        self.slots.map(region, access)
    }

    fn unmap(&self, base: u64) -> Result<Arc<Region>> {
        self.slots.unmap(base)
    }

    fn create_vcpu(&self, index: u32) -> Result<KvmVcpu> {
        if index >= self.vcpus {
            let planned = format!("vCPU {index} is not among the {} planned", self.vcpus);
            return Err(Error::new("KVM_CREATE_VCPU", io::Error::new(io::ErrorKind::InvalidInput, planned)));
        }
        let fd = self.fd.create_vcpu(index.into()).map_err(|error| Error::new("KVM_CREATE_VCPU", error))?;
        let core = self.template.core(&fd, index)?;
        KvmVcpu::new(fd, self.fd.run_size(), core, Arc::clone(&self.slots))
    }

    fn seal(&self) -> Result<()> {
        self.chips.seal()
    }

    fn reset(&self) -> Result<()> {
        self.chips.reset(&self.fd)
    }

    fn irq_chip(&self) -> Arc<dyn IrqChip> {
        Arc::<Lines>::clone(&self.lines)
    }

    fn doorbell_host(&self) -> Arc<dyn DoorbellHost> {
        Arc::new(Doorbells::new(Arc::clone(&self.fd)))
    }

    fn reclaimer(&self) -> Arc<dyn Reclaimer> {
        Arc::new(Pages::new(&self.slots))
    }
}

impl fmt::Debug for KvmVm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KvmVm({} vCPUs)", self.vcpus)
    }
}
