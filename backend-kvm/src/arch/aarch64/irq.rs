//! `Lines`: the inputs of the interrupt controller in the host's kernel.

use std::{ops::Range, sync::Arc};

use hv_core::{
    arch::aarch64::{FIRST_SPI, IrqPlan, MSI_SETSPI},
    irq::{IrqChip, Msi},
};
use kvm_bindings::{KVM_ARM_IRQ_TYPE_SHIFT, KVM_ARM_IRQ_TYPE_SPI};
use kvm_ioctls::VmFd;

/// SPIs by `KVM_IRQ_LINE`. KVM has no `GICv2m` frame: a message to that of the plan is a pulse of the SPI that it names.
pub(crate) struct Lines {
    vm: Arc<VmFd>,
    frame: u64,
    msis: Range<u32>,
}

impl Lines {
    pub(crate) fn new(vm: Arc<VmFd>, plan: &IrqPlan) -> Self {
        Self { vm, frame: plan.msi_frame, msis: plan.msis.clone() }
    }

    fn set_spi(&self, intid: u32, high: bool) {
        if let Err(error) = self.vm.set_irq_line(input(intid), high) {
            tracing::warn!("KVM_IRQ_LINE: INTID {intid}: {error}");
        }
    }
}

impl IrqChip for Lines {
    fn set_line(&self, spi: u32, high: bool) {
        self.set_spi(FIRST_SPI.saturating_add(spi), high);
    }

    fn send_msi(&self, message: Msi) {
        // The guest chooses address and data: what reaches no core is lost, as on a machine.
        match spi_of(message, self.frame, &self.msis) {
            Some(intid) => {
                self.set_spi(intid, true);
                self.set_spi(intid, false);
            }
            None => tracing::debug!("{message:x?} raises nothing"),
        }
    }
}

/// The INTID that a message to the frame raises, if it is among those for messages.
fn spi_of(message: Msi, frame: u64, msis: &Range<u32>) -> Option<u32> {
    (message.address == frame + MSI_SETSPI && msis.contains(&message.data)).then_some(message.data)
}

/// The field `irq` of `KVM_IRQ_LINE` for an SPI (KVM API, 4.25).
fn input(intid: u32) -> u32 {
    KVM_ARM_IRQ_TYPE_SPI << KVM_ARM_IRQ_TYPE_SHIFT | intid
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_raises_the_spi_that_it_names_and_no_other() {
        let raised = |address, data| spi_of(Msi { address, data }, 0x801_0000, &(128..640));
        assert_eq!(raised(0x801_0040, 128), Some(128));
        assert_eq!(raised(0x801_0040, 639), Some(639));
        assert_eq!(raised(0x801_0040, 127), None);
        assert_eq!(raised(0x801_0040, 640), None);
        assert_eq!(raised(0x801_0044, 128), None);
    }

    #[test]
    fn an_spi_is_named_by_its_intid() {
        assert_eq!(input(33), 0x0100_0021);
    }
}
