//! Nodes of what belongs to the cores: themselves, their firmware, timers and interrupt controllers.

use vm_fdt::FdtWriter;

use super::{Handle, LEVEL_HIGH, PPI, Writing, cells, node, region, strings, unit};
use crate::{
    arch::aarch64::{DISTRIBUTOR_SIZE, FIRST_SPI, MSI_FRAME_SIZE, REDISTRIBUTOR_SIZE, timer},
    tables::aarch64::Description,
};

/// INTID of the first PPI.
const FIRST_PPI: u32 = 16;

pub(super) fn write(fdt: &mut FdtWriter, machine: &Description) -> Writing {
    node(fdt, "cpus", |fdt| {
        // One address cell holds Aff0 to Aff2, which is all that machines of this type have.
        cells(fdt, 1, 0)?;
        machine.affinities.iter().try_for_each(|affinity| core(fdt, *affinity))
    })?;
    node(fdt, "psci", |fdt| {
        strings(fdt, "compatible", &["arm,psci-1.0", "arm,psci-0.2"])?;
        fdt.property_string("method", "hvc")
    })?;
    node(fdt, "timer", |fdt| {
        fdt.property_string("compatible", "arm,armv8-timer")?;
        let intids = [timer::SECURE, timer::PHYSICAL, timer::VIRTUAL, timer::HYPERVISOR];
        let interrupts = intids.map(|intid| [PPI, intid - FIRST_PPI, LEVEL_HIGH]);
        fdt.property_array_u32("interrupts", interrupts.as_flattened())?;
        fdt.property_null("always-on")
    })?;
    interrupt_controller(fdt, machine)
}

fn core(fdt: &mut FdtWriter, affinity: u64) -> Writing {
    node(fdt, &unit("cpu", affinity), |fdt| {
        fdt.property_string("device_type", "cpu")?;
        fdt.property_string("compatible", "arm,armv8")?;
        fdt.property_u32("reg", u32::try_from(affinity).unwrap_or(u32::MAX))?;
        fdt.property_string("enable-method", "psci")
    })
}

fn interrupt_controller(fdt: &mut FdtWriter, machine: &Description) -> Writing {
    let irq = &machine.irq;
    let redistributors = REDISTRIBUTOR_SIZE.saturating_mul(machine.affinities.len() as u64);
    node(fdt, &unit("interrupt-controller", irq.distributor), |fdt| {
        fdt.property_string("compatible", "arm,gic-v3")?;
        fdt.property_phandle(Handle::Interrupts as u32)?;
        fdt.property_null("interrupt-controller")?;
        fdt.property_u32("#interrupt-cells", 3)?;
        fdt.property_array_u64(
            "reg",
            &[irq.distributor, DISTRIBUTOR_SIZE, irq.redistributors, redistributors],
        )?;
        cells(fdt, 2, 2)?;
        fdt.property_null("ranges")?;
        node(fdt, &unit("msi-controller", irq.msi_frame), |fdt| {
            fdt.property_string("compatible", "arm,gic-v2m-frame")?;
            fdt.property_phandle(Handle::Messages as u32)?;
            fdt.property_null("msi-controller")?;
            region(fdt, &(irq.msi_frame..irq.msi_frame.saturating_add(MSI_FRAME_SIZE)))?;
            // INTIDs, for all that the binding calls them SPIs.
            fdt.property_u32("arm,msi-base-spi", irq.msis.start.max(FIRST_SPI))?;
            fdt.property_u32("arm,msi-num-spis", irq.msis.end.saturating_sub(irq.msis.start))
        })
    })
}
