//! `Chips`: the interrupt controllers and the timer of the PC, emulated in the host's kernel.

use hv_core::{
    arch::x86_64::IrqPlan,
    hypervisor::{Error, Result},
};
use kvm_bindings::{
    KVM_IRQCHIP_IOAPIC, KVM_IRQCHIP_PIC_MASTER, KVM_IRQCHIP_PIC_SLAVE, KVM_PIT_SPEAKER_DUMMY, kvm_irqchip,
    kvm_pit_config, kvm_pit_state2,
};
use kvm_ioctls::VmFd;

/// Guest-physical pages that Intel's processors need to run real mode, below the firmware's: a page of identity map,
/// then three pages of task state (KVM API, 4.36 and 4.41).
const IDENTITY_MAP: u64 = 0xfffb_c000;
const TASK_STATE: usize = 0xfffb_d000;

/// Two 8259, an IOAPIC and an 8254, and how they are at power-on.
pub(crate) struct Chips {
    interrupts: [kvm_irqchip; 3],
    timer: kvm_pit_state2,
}

impl Chips {
    /// Puts them into `vm`. Before its first core.
    pub(crate) fn new(vm: &VmFd, _: &IrqPlan, _: u32) -> Result<Self> {
        vm.set_identity_map_address(IDENTITY_MAP)
            .map_err(|error| Error::new("KVM_SET_IDENTITY_MAP_ADDR", error))?;
        vm.set_tss_address(TASK_STATE).map_err(|error| Error::new("KVM_SET_TSS_ADDR", error))?;
        vm.create_irq_chip().map_err(|error| Error::new("KVM_CREATE_IRQCHIP", error))?;
        // Port 0x61 too: what software measures time with.
        let pit = kvm_pit_config { flags: KVM_PIT_SPEAKER_DUMMY, ..Default::default() };
        vm.create_pit2(pit).map_err(|error| Error::new("KVM_CREATE_PIT2", error))?;
        let timer = vm.get_pit2().map_err(|error| Error::new("KVM_GET_PIT2", error))?;
        let chip = |chip_id| {
            let mut chip = kvm_irqchip { chip_id, ..Default::default() };
            vm.get_irqchip(&mut chip).map(|()| chip).map_err(|error| Error::new("KVM_GET_IRQCHIP", error))
        };
        let interrupts =
            [chip(KVM_IRQCHIP_PIC_MASTER)?, chip(KVM_IRQCHIP_PIC_SLAVE)?, chip(KVM_IRQCHIP_IOAPIC)?];
        Ok(Self { interrupts, timer })
    }

    /// There is nothing to do once all cores exist.
    #[expect(
        clippy::unused_self,
        clippy::unnecessary_wraps,
        reason = "other architectures' have something to do"
    )]
    pub(crate) fn seal(&self) -> Result<()> {
        Ok(())
    }

    /// Back to power-on.
    pub(crate) fn reset(&self, vm: &VmFd) -> Result<()> {
        for chip in &self.interrupts {
            vm.set_irqchip(chip).map_err(|error| Error::new("KVM_SET_IRQCHIP", error))?;
        }
        vm.set_pit2(&self.timer).map_err(|error| Error::new("KVM_SET_PIT2", error))
    }
}
