//! The tables of fixed layout: FADT, MADT, MCFG, SPCR.

use acpi_tables::{
    fadt::{FADT, FADTBuilder, Flags},
    gas::{AccessSize, AddressSpace, GAS},
    mcfg::MCFG,
    sdt::Sdt,
};

use super::{Description, OEM_ID, OEM_REVISION, OEM_TABLE_ID, Pci, Ports, Power, bytes, table};
use crate::arch::x86_64::{IOAPIC_BASE, LAPIC_BASE};

// IAPC_BOOT_ARCH (ACPI 6.5, table 5.11). The bit for an 8042 stays clear: ours has no keyboard.
const LEGACY_DEVICES: u16 = 1;
const NO_VGA: u16 = 1 << 2;
const NO_ASPM: u16 = 1 << 4;
/// Latencies above these mean that there is no C2 and no C3 (table 5.9).
const NO_C2: u16 = 101;
const NO_C3: u16 = 1001;
const CENTURY: u8 = 0x32;

/// Fixed ACPI description table (5.2.9).
pub(super) fn fadt(power: &Power, facs: u64, dsdt: u64) -> FADT {
    let mut fadt = FADTBuilder::new(OEM_ID, OEM_TABLE_ID, OEM_REVISION)
        .dsdt_64(dsdt)
        .firmware_ctrl_64(facs)
        .flag(Flags::Wbinvd)
        .flag(Flags::ProcC1)
        .flag(Flags::SlpButton) // set: none in fixed hardware; PwrButton is clear: there is one
        .flag(Flags::FixRtc) // set: the clock does not wake
        .flag(Flags::TmrValExt)
        .flag(Flags::ResetRegSup);
    fadt.sci_int = u16::from(power.sci).into();
    fadt.pm1a_evt_blk = u32::from(power.pm1a_event).into();
    fadt.pm1a_cnt_blk = u32::from(power.pm1a_control).into();
    fadt.pm_tmr_blk = u32::from(power.pm_timer).into();
    fadt.pm1_evt_len = 4;
    fadt.pm1_cnt_len = 2;
    fadt.pm_tmr_len = 4;
    fadt.x_pm1a_evt_blk = port(power.pm1a_event, 32, AccessSize::WordAccess);
    fadt.x_pm1a_cnt_blk = port(power.pm1a_control, 16, AccessSize::WordAccess);
    fadt.x_pm_tmr_blk = port(power.pm_timer, 32, AccessSize::DwordAccess);
    fadt.reset_reg = port(power.reset, 8, AccessSize::ByteAccess);
    fadt.reset_value = power.reset_value;
    fadt.p_lvl2_lat = NO_C2.into();
    fadt.p_lvl3_lat = NO_C3.into();
    fadt.century = CENTURY;
    fadt.iapc_boot_arch = (LEGACY_DEVICES | NO_VGA | NO_ASPM).into();
    fadt.finalize()
}

fn port(port: u16, bits: u8, access: AccessSize) -> GAS {
    GAS::new(AddressSpace::SystemIo, bits, 0, access, port.into())
}

// Flags of an interrupt (table 5.26).
const EDGE_HIGH: u16 = 0b0101;
const LEVEL_HIGH: u16 = 0b1101;

/// Multiple APIC description table (5.2.12).
pub(super) fn madt(description: &Description) -> Sdt {
    const BOTH_8259: u32 = 1;
    const ALL_PROCESSORS: u8 = 0xff;
    const ALL_PROCESSORS_X2: u32 = u32::MAX;
    const LINT1: u8 = 1;
    let mut body = [low(LAPIC_BASE), BOTH_8259].map(u32::to_le_bytes).concat();
    let mut wide = false;
    for (uid, &id) in (0_u32..).zip(&description.apic_ids) {
        wide |= add_processor(&mut body, uid, id);
    }
    // IOAPIC 0 with GSI 0 on.
    body.extend([1, 12, 0, 0]);
    body.extend([low(IOAPIC_BASE), 0].map(u32::to_le_bytes).concat());
    if description.pit_gsi != 0 {
        add_override(&mut body, 0, description.pit_gsi, EDGE_HIGH);
    }
    let sci = description.power.sci;
    add_override(&mut body, sci, sci.into(), LEVEL_HIGH);
    body.extend([4, 6, ALL_PROCESSORS, 0, 0, LINT1]);
    if wide {
        body.extend([0x0a, 12, 0, 0]);
        body.extend(ALL_PROCESSORS_X2.to_le_bytes());
        body.extend([LINT1, 0, 0, 0]);
    }
    table(*b"APIC", 5, &body)
}

/// Adds a local APIC (5.2.12.2), or a local x2APIC (5.2.12.12) where the ids are too wide: says which.
fn add_processor(body: &mut Vec<u8>, uid: u32, id: u32) -> bool {
    const ENABLED: u32 = 1;
    /// 255 means all processors.
    const LAST: u8 = 0xfe;
    match (u8::try_from(uid), u8::try_from(id)) {
        (Ok(uid @ ..=LAST), Ok(id @ ..=LAST)) => {
            body.extend([0, 8, uid, id]);
            body.extend(ENABLED.to_le_bytes());
            false
        }
        _ => {
            body.extend([9, 16, 0, 0]);
            body.extend([id, ENABLED, uid].map(u32::to_le_bytes).concat());
            true
        }
    }
}

/// Adds an interrupt source override (5.2.12.5).
fn add_override(body: &mut Vec<u8>, isa_irq: u8, gsi: u32, flags: u16) {
    const ISA: u8 = 0;
    body.extend([2, 10, ISA, isa_irq]);
    body.extend(gsi.to_le_bytes());
    body.extend(flags.to_le_bytes());
}

/// Memory-mapped configuration space (PCI Firmware 3.3, 4.1.2).
pub(super) fn mcfg(pci: &Pci) -> MCFG {
    let mut mcfg = MCFG::new(OEM_ID, OEM_TABLE_ID, OEM_REVISION);
    mcfg.add_ecam(pci.ecam.start, 0, 0, last_bus(pci));
    mcfg
}

/// The last bus in the ECAM window.
pub(super) fn last_bus(pci: &Pci) -> u8 {
    let buses = pci.ecam.end.saturating_sub(pci.ecam.start) >> 20;
    u8::try_from(buses.saturating_sub(1)).unwrap_or(u8::MAX)
}

/// Serial port console redirection: COM1.
pub(super) fn spcr(uart: &Ports) -> Sdt {
    const FULL_16550: u8 = 0;
    const BY_8259_AND_IOAPIC: u8 = 0b11;
    let registers = port(uart.base, 8, AccessSize::ByteAccess);
    console(FULL_16550, &registers, [BY_8259_AND_IOAPIC, uart.irq], uart.irq.into())
}

/// Serial port console redirection (Microsoft's SPCR, revision 2): 115200 baud, 8 bits, no parity. `interrupts` is
/// the kind of controller and the IRQ of two 8259s.
pub(super) fn console(kind: u8, registers: &GAS, interrupts: [u8; 2], gsi: u32) -> Sdt {
    const BAUD_115200: u8 = 7;
    const ONE_STOP_BIT: u8 = 1;
    const ANSI: u8 = 3;
    let mut body = vec![kind, 0, 0, 0];
    body.extend(bytes(registers));
    body.extend(interrupts);
    body.extend(gsi.to_le_bytes());
    body.extend([BAUD_115200, 0, ONE_STOP_BIT, 0, ANSI, 0]);
    // No PCI device: ids of all ones, address, flags and segment of zeros; then 4 reserved bytes.
    body.extend([0xff; 4]);
    body.extend([0; 12]);
    table(*b"SPCR", 2, &body)
}

/// The low half of an address below 4 GiB.
fn low(address: u64) -> u32 {
    u32::try_from(address).unwrap_or(u32::MAX)
}
