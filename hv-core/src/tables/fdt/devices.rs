//! Nodes of the devices: UART, clock, power button, PCI, virtio-mmio.

use std::ops::Range;

use vm_fdt::FdtWriter;

use super::{Handle, LEVEL_HIGH, SPI, Writing, cells, node, region, strings, unit};
use crate::tables::aarch64::{Description, Pci, Window};

/// Linux's `KEY_POWER`.
const KEY_POWER: u32 = 116;
const ACTIVE_HIGH: u32 = 0;

pub(super) fn write(fdt: &mut FdtWriter, machine: &Description) -> Writing {
    node(fdt, "apb-pclk", |fdt| {
        fdt.property_string("compatible", "fixed-clock")?;
        fdt.property_phandle(Handle::Clock as u32)?;
        fdt.property_u32("#clock-cells", 0)?;
        fdt.property_u32("clock-frequency", machine.uart_clock)
    })?;
    node(fdt, &uart_name(machine), |fdt| {
        primecell(fdt, "arm,pl011", &machine.uart, &["uartclk", "apb_pclk"])?;
        interrupt(fdt, machine.uart.spi)
    })?;
    node(fdt, &unit("rtc", machine.clock.base), |fdt| {
        primecell(fdt, "arm,pl031", &machine.clock, &["apb_pclk"])
    })?;
    node(fdt, &unit("gpio", machine.gpio.base), |fdt| {
        primecell(fdt, "arm,pl061", &machine.gpio, &["apb_pclk"])?;
        interrupt(fdt, machine.gpio.spi)?;
        fdt.property_phandle(Handle::Gpio as u32)?;
        fdt.property_null("gpio-controller")?;
        fdt.property_u32("#gpio-cells", 2)?;
        fdt.property_null("interrupt-controller")?;
        fdt.property_u32("#interrupt-cells", 2)?;
        fdt.property_u32("#address-cells", 0)
    })?;
    node(fdt, "gpio-keys", |fdt| {
        fdt.property_string("compatible", "gpio-keys")?;
        node(fdt, "power", |fdt| {
            fdt.property_string("label", "Power Button")?;
            fdt.property_u32("linux,code", KEY_POWER)?;
            fdt.property_array_u32("gpios", &[Handle::Gpio as u32, machine.power_button.into(), ACTIVE_HIGH])
        })
    })?;
    pci(fdt, &machine.pci)?;
    machine.virtio_mmio.iter().try_for_each(|device| virtio_mmio(fdt, device))
}

/// The name of the UART's node.
pub(super) fn uart_name(machine: &Description) -> String {
    unit("serial", machine.uart.base)
}

fn primecell(fdt: &mut FdtWriter, compatible: &str, window: &Window, clocks: &[&str]) -> Writing {
    strings(fdt, "compatible", &[compatible, "arm,primecell"])?;
    region(fdt, &range(window))?;
    fdt.property_array_u32("clocks", &vec![Handle::Clock as u32; clocks.len()])?;
    strings(fdt, "clock-names", clocks)
}

fn range(window: &Window) -> Range<u64> {
    window.base..window.base.saturating_add(window.size)
}

fn interrupt(fdt: &mut FdtWriter, spi: u32) -> Writing {
    fdt.property_array_u32("interrupts", &[SPI, spi, LEVEL_HIGH])
}

fn virtio_mmio(fdt: &mut FdtWriter, device: &Window) -> Writing {
    node(fdt, &unit("virtio_mmio", device.base), |fdt| {
        fdt.property_string("compatible", "virtio,mmio")?;
        region(fdt, &range(device))?;
        interrupt(fdt, device.spi)?;
        fdt.property_null("dma-coherent")
    })
}

/// The host bridge (PCI Bus Binding to IEEE 1275; host-generic-pci).
fn pci(fdt: &mut FdtWriter, pci: &Pci) -> Writing {
    const MEMORY_32: u32 = 0x0200_0000;
    const SLOT: u32 = 0xf800;
    const PIN: u32 = 7;
    const PIN_A: u32 = 1;
    const SLOT_SHIFT: u32 = 11;
    let [start_high, start_low] = halves(pci.window.start);
    let [size_high, size_low] = halves(pci.window.end.saturating_sub(pci.window.start));
    node(fdt, &unit("pcie", pci.ecam.start), |fdt| {
        fdt.property_string("compatible", "pci-host-ecam-generic")?;
        fdt.property_string("device_type", "pci")?;
        region(fdt, &pci.ecam)?;
        fdt.property_array_u32("bus-range", &[0, pci.last_bus().into()])?;
        fdt.property_u32("linux,pci-domain", 0)?;
        cells(fdt, 3, 2)?;
        fdt.property_array_u32(
            "ranges",
            &[MEMORY_32, start_high, start_low, start_high, start_low, size_high, size_low],
        )?;
        fdt.property_u32("#interrupt-cells", 1)?;
        fdt.property_array_u32("interrupt-map-mask", &[SLOT, 0, 0, PIN])?;
        let routes: Vec<_> = (0_u32..)
            .zip(pci.slot_spis)
            .flat_map(|(slot, spi)| {
                let parent = [Handle::Interrupts as u32, 0, 0, SPI, spi, LEVEL_HIGH];
                [slot << SLOT_SHIFT, 0, 0, PIN_A].into_iter().chain(parent)
            })
            .collect();
        fdt.property_array_u32("interrupt-map", &routes)?;
        // Every requester of the segment.
        fdt.property_array_u32("msi-map", &[0, Handle::Messages as u32, 0, 0x1_0000])?;
        fdt.property_null("dma-coherent")
    })
}

#[expect(clippy::cast_possible_truncation, reason = "the halves of a number")]
fn halves(value: u64) -> [u32; 2] {
    [(value >> 32) as u32, value as u32]
}
