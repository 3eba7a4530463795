//! `Lines`: the interrupt controller in the host's kernel.

use std::sync::Arc;

use hv_core::{
    arch::x86_64::IrqPlan,
    irq::{IrqChip, Msi},
};
use kvm_bindings::kvm_msi;
use kvm_ioctls::VmFd;

/// Lines by `KVM_IRQ_LINE`, messages by `KVM_SIGNAL_MSI`. KVM's own routing is left as it is: GSI 0..16 go to the
/// 8259 pair and the IOAPIC, 16..24 to the IOAPIC.
pub(crate) struct Lines(Arc<VmFd>);

impl Lines {
    pub(crate) fn new(vm: Arc<VmFd>, _: &IrqPlan) -> Self {
        Self(vm)
    }
}

impl IrqChip for Lines {
    fn set_line(&self, gsi: u32, high: bool) {
        if let Err(error) = self.0.set_irq_line(gsi, high) {
            tracing::warn!("KVM_IRQ_LINE: GSI {gsi}: {error}");
        }
    }

    fn send_msi(&self, message: Msi) {
        let [low, high] = halves(message.address);
        let msi = kvm_msi { address_lo: low, address_hi: high, data: message.data, ..Default::default() };
        // The guest chooses address and data: what reaches no core is lost, as on a machine.
        if let Err(error) = self.0.signal_msi(msi) {
            tracing::debug!("KVM_SIGNAL_MSI: {message:x?}: {error}");
        }
    }
}

/// The low and the high half.
fn halves(value: u64) -> [u32; 2] {
    let [a, b, c, d, e, f, g, h] = value.to_le_bytes();
    [u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h])]
}
