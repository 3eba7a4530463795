//! ACPI tables (ACPI 6.5) of an x86_64 machine; those of an aarch64 machine are in [`aarch64`].
//!
//! They say what is there and nothing else: no VGA, no keyboard (the i8042 only resets, and a guest that believes
//! in a keyboard waits for one), a power button and a PM timer in fixed hardware, a CMOS clock, a UART, PCI.

pub mod aarch64;
mod dsdt;
mod fixed;

use std::ops::Range;

use acpi_tables::{Aml, facs::FACS, rsdp::Rsdp, sdt::Sdt, xsdt::XSDT};
use vm_memory::{Bytes, GuestAddress, GuestMemoryError};

use crate::memory::GuestRam;

/// Guest-physical addresses of the tables: where a PC's firmware has them and a guest without other information
/// searches for the RSDP.
pub const TABLES: Range<u64> = 0xe_0000..0x10_0000;
/// The FACS must be so aligned (5.2.10); the others like it too.
const ALIGNMENT: u64 = 64;
const OEM_ID: [u8; 6] = *b"HV    ";
const OEM_TABLE_ID: [u8; 8] = *b"HV-1    ";
const OEM_REVISION: u32 = 1;

/// What the tables describe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// The APIC id of each vCPU.
    pub apic_ids: Vec<u32>,
    /// The GSI that the PIT raises, which ISA knows as IRQ 0.
    pub pit_gsi: u32,
    /// The fixed hardware.
    pub power: Power,
    /// The PCI segment.
    pub pci: Option<Pci>,
    /// COM1.
    pub uart: Option<Ports>,
    /// The CMOS clock, with its century in register 0x32.
    pub rtc: Option<Ports>,
    /// The virtio-mmio devices.
    pub virtio_mmio: Vec<VirtioMmio>,
}

/// The fixed hardware (4.8), all in I/O space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Power {
    /// PM1a event block, 4 bytes.
    pub pm1a_event: u16,
    /// PM1a control block, 2 bytes.
    pub pm1a_control: u16,
    /// PM timer, 4 bytes, all of which count.
    pub pm_timer: u16,
    /// Reset register, 1 byte.
    pub reset: u16,
    /// What resets the machine when stored there.
    pub reset_value: u8,
    /// `SLP_TYPa` of the state S5.
    pub sleep_type_s5: u8,
    /// GSI of the system control interrupt: level, active high; an ISA interrupt, so below 16.
    pub sci: u8,
}

/// A PCI segment with one root bridge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pci {
    /// The ECAM window from bus 0 on: 1 MiB per bus, below 4 GiB.
    pub ecam: Range<u64>,
    /// Where BARs may lie.
    pub windows: Vec<Range<u64>>,
    /// The GSI of interrupt pin A in each slot of bus 0: level, active high, shared.
    pub slot_gsis: [u32; 32],
}

/// An ISA device: 8 ports for a UART, 2 for a clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ports {
    /// The first port.
    pub base: u16,
    /// Its ISA interrupt: edge, active high.
    pub irq: u8,
}

/// A virtio-mmio device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VirtioMmio {
    /// Its window of 4 KiB.
    pub base: u32,
    /// Its GSI: level, active high, shared.
    pub gsi: u32,
}

/// The tables cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum TablesError {
    /// So many vCPUs or devices do not fit into [`TABLES`].
    #[error("the ACPI tables have more than {} bytes: give fewer vCPUs or devices", TABLES.end - TABLES.start)]
    TooLarge,
    /// No RAM is there.
    #[error("cannot write ACPI tables to guest memory: {0}")]
    Ram(#[from] GuestMemoryError),
}

/// Writes the tables into [`TABLES`] and says where the RSDP is.
///
/// # Errors
/// They do not fit, or there is no RAM.
pub fn write(description: &Description, ram: &GuestRam) -> Result<u64, TablesError> {
    if description.virtio_mmio.len() > dsdt::MOST_VIRTIO_MMIO {
        return Err(TablesError::TooLarge);
    }
    let rsdp = TABLES.start;
    let mut shelf = Shelf { ram, next: rsdp + ALIGNMENT };
    let facs = shelf.put(&FACS::new())?;
    let dsdt = shelf.put(&dsdt::dsdt(description))?;
    let mut xsdt = XSDT::new(OEM_ID, OEM_TABLE_ID, OEM_REVISION);
    xsdt.add_entry(shelf.put(&fixed::fadt(&description.power, facs, dsdt))?);
    xsdt.add_entry(shelf.put(&fixed::madt(description))?);
    if let Some(pci) = &description.pci {
        xsdt.add_entry(shelf.put(&fixed::mcfg(pci))?);
    }
    if let Some(uart) = &description.uart {
        xsdt.add_entry(shelf.put(&fixed::spcr(uart))?);
    }
    let xsdt = shelf.put(&xsdt)?;
    shelf.ram.write_slice(&bytes(&Rsdp::new(OEM_ID, xsdt)), GuestAddress(rsdp))?;
    Ok(rsdp)
}

/// Puts one table behind the other.
struct Shelf<'a> {
    ram: &'a GuestRam,
    next: u64,
}

impl Shelf<'_> {
    fn put(&mut self, table: &dyn Aml) -> Result<u64, TablesError> {
        let bytes = bytes(table);
        let address = self.next;
        let end = address.saturating_add(bytes.len() as u64);
        if end > TABLES.end {
            return Err(TablesError::TooLarge);
        }
        self.ram.write_slice(&bytes, GuestAddress(address))?;
        self.next = end.next_multiple_of(ALIGNMENT);
        Ok(address)
    }
}

fn bytes(table: &dyn Aml) -> Vec<u8> {
    let mut bytes = Vec::new();
    table.to_aml_bytes(&mut bytes);
    bytes
}

/// A table of `signature` whose body follows the common header.
fn table(signature: [u8; 4], revision: u8, body: &[u8]) -> Sdt {
    const HEADER: u32 = 36;
    let mut table = Sdt::new(signature, HEADER, revision, OEM_ID, OEM_TABLE_ID, OEM_REVISION);
    table.append_slice(body);
    table
}

#[cfg(test)]
mod tests;
