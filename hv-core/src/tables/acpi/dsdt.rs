//! The differentiated system description table: the machine's devices in AML (ACPI 6.5, chapters 6 and 20).

use std::{collections::BTreeSet, ops::Range};

use acpi_tables::{
    Aml,
    aml::{
        AddressSpace, AddressSpaceCacheable, Device, EISAName, IO, Interrupt, Memory32Fixed, Method, Name,
        Package, PackageBuilder, Path, ResourceTemplate, Scope,
    },
    sdt::Sdt,
};

use super::{Description, Pci, Ports, Power, VirtioMmio, bytes, fixed, table};

/// Their names have three hexadecimal digits.
pub(super) const MOST_VIRTIO_MMIO: usize = 0x1000;
const UART_PORTS: u8 = 8;
const RTC_PORTS: u8 = 2;
const VIRTIO_MMIO_SIZE: u32 = 0x1000;

pub(super) fn dsdt(description: &Description) -> Sdt {
    let mut devices = Vec::new();
    if let Some(pci) = &description.pci {
        for gsi in pci.slot_gsis.iter().collect::<BTreeSet<_>>() {
            devices.extend(interrupt_link(*gsi));
        }
        devices.extend(host_bridge(pci, &[]));
    }
    devices.extend(reserved(description));
    if let Some(uart) = &description.uart {
        devices.extend(isa("COM1", "PNP0501", *uart, UART_PORTS));
    }
    if let Some(rtc) = &description.rtc {
        devices.extend(isa("RTC_", "PNP0B00", *rtc, RTC_PORTS));
    }
    for (index, device) in (0_u32..).zip(&description.virtio_mmio) {
        devices.extend(virtio_mmio(index, *device, &[]));
    }
    let mut body = Scope::raw(Path::new("\\_SB_"), devices);
    body.extend(sleep_state(&description.power));
    table(*b"DSDT", 2, &body)
}

/// S5, soft off (7.4.2).
fn sleep_state(power: &Power) -> Vec<u8> {
    let zero = 0_u8;
    let types = Package::new(vec![&power.sleep_type_s5, &zero, &zero, &zero]);
    bytes(&Name::new(Path::new("\\_S5_"), &types))
}

/// A PCI interrupt link that is wired to one GSI (6.2.13). Pins wired without one would be active low to a guest,
/// as on a PCI bus; ours are active high.
pub(super) fn interrupt_link(gsi: u32) -> Vec<u8> {
    let interrupt = level_interrupt(gsi);
    let resources = ResourceTemplate::new(vec![&interrupt]);
    bytes(&Device::new(
        link(gsi),
        vec![
            &Name::new(Path::new("_HID"), &EISAName::new("PNP0C0F")),
            &Name::new(Path::new("_UID"), &gsi),
            &Name::new(Path::new("_PRS"), &resources),
            &Name::new(Path::new("_CRS"), &resources),
            &Method::new(Path::new("_SRS"), 1, false, vec![]),
        ],
    ))
}

fn link(gsi: u32) -> Path {
    Path::new(&format!("L{:03X}", gsi & 0xfff))
}

/// The PCI Express root bridge with its windows and interrupts, and `more` objects.
pub(super) fn host_bridge(pci: &Pci, more: &[&dyn Aml]) -> Vec<u8> {
    let buses = AddressSpace::new_bus_number(0_u16, fixed::last_bus(pci).into());
    let windows: Vec<_> = pci.windows.iter().filter(|window| !window.is_empty()).map(memory_window).collect();
    let mut resources: Vec<&dyn Aml> = vec![&buses];
    resources.extend(windows.iter().map(|window| &**window));
    let mut routes = PackageBuilder::new();
    for (slot, gsi) in (0_u32..).zip(pci.slot_gsis) {
        const ANY_FUNCTION: u32 = 0xffff;
        const PIN_A: u8 = 0;
        const FIRST_INTERRUPT_OF_LINK: u8 = 0;
        let address = slot << 16 | ANY_FUNCTION;
        routes.add_element(&Package::new(vec![&address, &PIN_A, &link(gsi), &FIRST_INTERRUPT_OF_LINK]));
    }
    let zero = 0_u8;
    let objects = [
        &Name::new(Path::new("_HID"), &EISAName::new("PNP0A08")) as &dyn Aml,
        &Name::new(Path::new("_CID"), &EISAName::new("PNP0A03")),
        &Name::new(Path::new("_UID"), &zero),
        &Name::new(Path::new("_SEG"), &zero),
        &Name::new(Path::new("_BBN"), &zero),
        &Name::new(Path::new("_CRS"), &ResourceTemplate::new(resources)),
        &Name::new(Path::new("_PRT"), &routes),
    ];
    bytes(&Device::new(Path::new("PCI0"), [&objects, more].concat()))
}

/// A window for BARs; one that reaches past 4 GiB takes 64-bit BARs only.
fn memory_window(window: &Range<u64>) -> Box<dyn Aml> {
    let (first, last) = (window.start, window.end - 1);
    match (u32::try_from(first), u32::try_from(last)) {
        (Ok(first), Ok(last)) => {
            Box::new(AddressSpace::new_memory(AddressSpaceCacheable::NotCacheable, true, first, last, None))
        }
        _ => Box::new(AddressSpace::new_memory(AddressSpaceCacheable::NotCacheable, true, first, last, None)),
    }
}

/// What no driver shall take: the ECAM window (PCI Firmware 3.3, 4.1.2, demands it) and the fixed hardware's ports.
fn reserved(description: &Description) -> Vec<u8> {
    let power = &description.power;
    let ports = [(power.pm1a_event, 4), (power.pm1a_control, 2), (power.pm_timer, 4), (power.reset, 1)];
    let ports = ports.map(|(base, size)| IO::new(base, base, 1, size));
    let ecam = description.pci.as_ref().and_then(|pci| memory(&pci.ecam));
    let mut resources: Vec<&dyn Aml> = ports.iter().map(|ports| ports as &dyn Aml).collect();
    resources.extend(ecam.iter().map(|ecam| ecam as &dyn Aml));
    bytes(&Device::new(
        Path::new("RES0"),
        vec![
            &Name::new(Path::new("_HID"), &EISAName::new("PNP0C02")),
            &Name::new(Path::new("_CRS"), &ResourceTemplate::new(resources)),
        ],
    ))
}

/// A range of addresses below 4 GiB.
pub(super) fn memory(range: &Range<u64>) -> Option<Memory32Fixed> {
    let size = range.end.checked_sub(range.start)?;
    Some(Memory32Fixed::new(true, u32::try_from(range.start).ok()?, u32::try_from(size).ok()?))
}

fn isa(name: &str, id: &str, ports: Ports, size: u8) -> Vec<u8> {
    let io = IO::new(ports.base, ports.base, 1, size);
    let (consumer, edge, active_low, shared) = (true, true, false, false);
    let interrupt = Interrupt::new(consumer, edge, active_low, shared, ports.irq.into());
    bytes(&Device::new(
        Path::new(name),
        vec![
            &Name::new(Path::new("_HID"), &EISAName::new(id)),
            &Name::new(Path::new("_UID"), &0_u8),
            &Name::new(Path::new("_CRS"), &ResourceTemplate::new(vec![&io, &interrupt])),
        ],
    ))
}

/// A virtio-mmio device, with `more` objects.
pub(super) fn virtio_mmio(index: u32, device: VirtioMmio, more: &[&dyn Aml]) -> Vec<u8> {
    let window = Memory32Fixed::new(true, device.base, VIRTIO_MMIO_SIZE);
    let interrupt = level_interrupt(device.gsi);
    let objects = [
        &Name::new(Path::new("_HID"), &"LNRO0005") as &dyn Aml,
        &Name::new(Path::new("_UID"), &index),
        &Name::new(Path::new("_CRS"), &ResourceTemplate::new(vec![&window, &interrupt])),
    ];
    bytes(&Device::new(Path::new(&format!("V{:03X}", index & 0xfff)), [&objects, more].concat()))
}

/// Level, active high, shared: the wire of a PCI slot or virtio-mmio device.
pub(super) fn level_interrupt(gsi: u32) -> Interrupt {
    let (consumer, edge, active_low, shared) = (true, false, false, true);
    Interrupt::new(consumer, edge, active_low, shared, gsi)
}
