//! ACPI tables (ACPI 6.5) of an aarch64 machine: hardware-reduced, PSCI by HVC.
//!
//! Each is whole but for its place: firmware loads them, and links them to one another. A kernel that starts without
//! firmware is told the same by device tree.

use std::{collections::BTreeSet, ops::Range};

use acpi_tables::{
    Aml,
    aml::{self, Device, Method, Name, Notify, Path, ResourceTemplate, Scope},
    fadt::{FADTBuilder, Flags},
    gas::{AccessSize, AddressSpace, GAS},
    madt::{EnabledStatus, GicVersion, Gicc, Gicd, Gicr},
};

use super::{OEM_ID, OEM_REVISION, OEM_TABLE_ID, Pci, VirtioMmio, bytes, dsdt, fixed, table};
use crate::{
    arch::aarch64::{FIRST_SPI, REDISTRIBUTOR_SIZE, timer},
    tables::aarch64::{Description, Window},
};

/// Fixed ACPI description table (5.2.9) that points to the DSDT at `dsdt`.
pub fn fadt(dsdt: u64) -> Vec<u8> {
    const PSCI_COMPLIANT: u16 = 1;
    const PSCI_USE_HVC: u16 = 2;
    let mut fadt =
        FADTBuilder::new(OEM_ID, OEM_TABLE_ID, OEM_REVISION).dsdt_64(dsdt).flag(Flags::HwReducedAcpi);
    fadt.arm_boot_arch = (PSCI_COMPLIANT | PSCI_USE_HVC).into();
    bytes(&fadt.finalize())
}

/// Multiple APIC description table (5.2.12): the GIC.
pub fn madt(machine: &Description) -> Vec<u8> {
    let irq = &machine.irq;
    let mut body = vec![0; 8];
    body.extend(bytes(&Gicd::new(0, irq.distributor, GicVersion::GICv3)));
    for (index, affinity) in (0_u32..).zip(&machine.affinities) {
        let interface = Gicc::new(EnabledStatus::Enabled)
            .cpu_interface_number(index)
            .acpi_processor_uid(index)
            .mpidr(*affinity);
        body.extend(bytes(&interface));
    }
    let redistributors = REDISTRIBUTOR_SIZE.saturating_mul(machine.affinities.len() as u64);
    body.extend(bytes(&Gicr::new(irq.redistributors, u32::try_from(redistributors).unwrap_or(u32::MAX))));
    // The GIC MSI frame (5.2.12.16), with the SPIs that it says to have.
    const SPIS_ARE_TOLD: u32 = 1;
    let half = |value: u32| u16::try_from(value).unwrap_or(u16::MAX).to_le_bytes();
    body.extend([0x0d, 24, 0, 0, 0, 0, 0, 0]);
    body.extend(irq.msi_frame.to_le_bytes());
    body.extend(SPIS_ARE_TOLD.to_le_bytes());
    body.extend(half(irq.msis.end.saturating_sub(irq.msis.start)));
    body.extend(half(irq.msis.start));
    bytes(&table(*b"APIC", 6, &body))
}

/// Generic timer description table (5.2.25).
pub fn gtdt() -> Vec<u8> {
    const NO_WINDOW: u64 = u64::MAX;
    const LEVEL_HIGH_ALWAYS_ON: u32 = 0b100;
    let mut body = NO_WINDOW.to_le_bytes().to_vec();
    body.extend([0; 4]);
    for intid in [timer::SECURE, timer::PHYSICAL, timer::VIRTUAL, timer::HYPERVISOR] {
        body.extend([intid, LEVEL_HIGH_ALWAYS_ON].map(u32::to_le_bytes).as_flattened());
    }
    body.extend(NO_WINDOW.to_le_bytes());
    // No platform timers, no virtual timer at EL2.
    body.extend([0; 16]);
    bytes(&table(*b"GTDT", 3, &body))
}

/// Memory-mapped configuration space (PCI Firmware 3.3, 4.1.2).
pub fn mcfg(machine: &Description) -> Vec<u8> {
    bytes(&fixed::mcfg(&pci(machine)))
}

/// Serial port console redirection (Microsoft's SPCR): the PL011.
pub fn spcr(machine: &Description) -> Vec<u8> {
    const PL011: u8 = 3;
    const BY_GIC: u8 = 1 << 3;
    let registers = GAS::new(AddressSpace::SystemMemory, 32, 0, AccessSize::DwordAccess, machine.uart.base);
    bytes(&fixed::console(PL011, &registers, [BY_GIC, 0], gsi(machine.uart.spi)))
}

/// Differentiated system description table (5.2.11.1).
pub fn dsdt(machine: &Description) -> Vec<u8> {
    let coherent = Name::new(Path::new("_CCA"), &1_u8);
    let mut devices = Vec::new();
    for index in (0_u32..).take(machine.affinities.len()) {
        devices.extend(device(&format!("C{:03X}", index & 0xfff), "ACPI0007", index, &[]));
    }
    let pci = pci(machine);
    let links: BTreeSet<_> = pci.slot_gsis.iter().collect();
    devices.extend(links.into_iter().flat_map(|gsi| dsdt::interrupt_link(*gsi)));
    devices.extend(dsdt::host_bridge(&pci, &[&coherent]));
    let ecam = resources(&pci.ecam, None);
    devices.extend(device("RES0", "PNP0C02", 0, &[&ecam]));
    devices.extend(device("COM1", "ARMH0011", 0, &[&window(&machine.uart)]));
    let (events, method) = (gpio_events(machine.power_button), format!("_E{:02X}", machine.power_button));
    let button = Path::new("\\_SB_.PWRB");
    let pressed = Notify::new(&button, &0x80_u8);
    let pressed = Method::new(Path::new(&method), 0, false, vec![&pressed]);
    devices.extend(device("GPI0", "ARMH0061", 0, &[&window(&machine.gpio), &events, &pressed]));
    devices.extend(device("PWRB", "PNP0C0C", 0, &[]));
    for (index, window) in (0_u32..).zip(&machine.virtio_mmio) {
        let base = u32::try_from(window.base).unwrap_or(u32::MAX);
        let device = VirtioMmio { base, gsi: gsi(window.spi) };
        devices.extend(dsdt::virtio_mmio(index, device, &[&coherent]));
    }
    bytes(&table(*b"DSDT", 2, &Scope::raw(Path::new("\\_SB_"), devices)))
}

/// The interrupt of an SPI: ACPI numbers them as the GIC does.
fn gsi(spi: u32) -> u32 {
    spi.saturating_add(FIRST_SPI)
}

fn pci(machine: &Description) -> Pci {
    Pci {
        ecam: machine.pci.ecam.clone(),
        windows: vec![machine.pci.window.clone()],
        slot_gsis: machine.pci.slot_spis.map(gsi),
    }
}

/// A device with its id and `more` objects.
fn device(name: &str, id: &'static str, uid: u32, more: &[&dyn Aml]) -> Vec<u8> {
    let pnp = id.starts_with("PNP").then(|| aml::EISAName::new(id));
    let id: &dyn Aml = pnp.as_ref().map_or(&id, |pnp| pnp as &dyn Aml);
    let objects = [&Name::new(Path::new("_HID"), id) as &dyn Aml, &Name::new(Path::new("_UID"), &uid)];
    bytes(&Device::new(Path::new(name), [&objects, more].concat()))
}

fn window(window: &Window) -> Name {
    resources(&(window.base..window.base.saturating_add(window.size)), Some(gsi(window.spi)))
}

/// `_CRS` of a range of addresses and an interrupt.
fn resources(range: &Range<u64>, gsi: Option<u32>) -> Name {
    let (memory, interrupt) = (dsdt::memory(range), gsi.map(dsdt::level_interrupt));
    let memory = memory.iter().map(|memory| memory as &dyn Aml);
    let resources = memory.chain(interrupt.iter().map(|interrupt| interrupt as &dyn Aml));
    Name::new(Path::new("_CRS"), &ResourceTemplate::new(resources.collect()))
}

/// `_AEI` (5.6.5.2): line `pin` of the GPIO controller is an event when it rises.
fn gpio_events(pin: u8) -> Name {
    Name::new(Path::new("_AEI"), &ResourceTemplate::new(vec![&GpioInterrupt { pin }]))
}

/// A GPIO connection descriptor (6.4.3.8.1) of an interrupt: rising edge, exclusive.
struct GpioInterrupt {
    pin: u8,
}

impl Aml for GpioInterrupt {
    fn to_aml_bytes(&self, sink: &mut dyn acpi_tables::AmlSink) {
        const SOURCE: [u8; 11] = *b"\\_SB_.GPI0\0";
        const PINS: u8 = 23;
        const NAME: u8 = PINS + 2;
        const END: u8 = NAME + 11;
        const REVISION: u8 = 1;
        const INTERRUPT: u8 = 0;
        const CONSUMER: u8 = 1;
        const EDGE_HIGH_EXCLUSIVE: u8 = 1;
        sink.vec(&[0x8c, END - 3, 0, REVISION, INTERRUPT, CONSUMER, 0, EDGE_HIGH_EXCLUSIVE, 0]);
        // Default pull, no drive strength, no debouncing; where the rest lies; no vendor's data.
        sink.vec(&[0, 0, 0, 0, 0, PINS, 0, 0, NAME, 0, END, 0, 0, 0]);
        sink.vec(&[self.pin, 0]);
        sink.vec(&SOURCE);
    }
}

#[cfg(test)]
mod tests;
