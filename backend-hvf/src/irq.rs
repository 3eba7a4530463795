//! `Lines`: the framework's interrupt controller, as devices see it.

use std::{
    ops::Range,
    sync::{Arc, Weak},
};

use hv_core::{
    arch::aarch64::{FIRST_SPI, IrqPlan, MSI_SETSPI},
    hypervisor::Result,
    irq::{IrqChip, Msi},
};

use crate::vm::Shared;

/// Lines by `hv_gic_set_spi`, messages by `hv_gic_send_msi`. A device may hold it longer than there is a VM.
pub(crate) struct Lines {
    vm: Weak<Shared>,
    /// INTIDs that lines raise.
    lines: [Range<u32>; 2],
    msis: Range<u32>,
    /// Where messages are stored.
    frame: u64,
}

impl Lines {
    pub(crate) fn new(vm: &Arc<Shared>, plan: &IrqPlan) -> Self {
        Self {
            vm: Arc::downgrade(vm),
            lines: [FIRST_SPI..plan.msis.start, plan.msis.end..plan.intids],
            msis: plan.msis.clone(),
            frame: plan.msi_frame.saturating_add(MSI_SETSPI),
        }
    }

    fn send(&self, send: impl FnOnce(&Shared) -> Result<()>) -> Result<()> {
        let Some(vm) = self.vm.upgrade() else { return Ok(()) };
        send(&vm)?;
        vm.cores.interrupt();
        Ok(())
    }
}

impl IrqChip for Lines {
    fn set_line(&self, spi: u32, high: bool) {
        let intid = spi.saturating_add(FIRST_SPI);
        // No device has another one; the framework would refuse it.
        if !self.lines.iter().any(|lines| lines.contains(&intid)) {
            return;
        }
        if let Err(error) = self.send(|vm| vm.gic.set_spi(intid, high)) {
            tracing::warn!("SPI {spi}: {error}");
        }
    }

    fn send_msi(&self, message: Msi) {
        // The guest chooses address and data: what reaches no core is lost, as on a machine.
        if message.address != self.frame || !self.msis.contains(&message.data) {
            tracing::debug!("no interrupt: {message:x?}");
            return;
        }
        if let Err(error) = self.send(|vm| vm.gic.send_msi(message.address, message.data)) {
            tracing::debug!("{message:x?}: {error}");
        }
    }
}
