//! The tables as a guest finds them, and as the reference compiler reads them.

use std::{collections::BTreeMap, process::Command};

use vm_memory::Bytes;

use super::*;
use crate::memory::{RamLayout, allocate};

fn ram() -> GuestRam {
    allocate(&RamLayout::new(1 << 20, 3 << 30..4 << 30, 1 << 40).unwrap()).unwrap()
}

fn description(vcpus: u32) -> Description {
    Description {
        apic_ids: (0..vcpus).collect(),
        pit_gsi: 2,
        power: Power {
            pm1a_event: 0x600,
            pm1a_control: 0x604,
            pm_timer: 0x608,
            reset: 0x610,
            reset_value: 1,
            sleep_type_s5: 5,
            sci: 9,
        },
        pci: Some(Pci {
            ecam: 0xe000_0000..0xe010_0000,
            windows: vec![0xc000_0000..0xe000_0000, 448 << 30..512 << 30],
            slot_gsis: std::array::from_fn(|slot| [16, 17, 18, 19, 20, 21, 22, 23][slot % 8]),
        }),
        uart: Some(Ports { base: 0x3f8, irq: 4 }),
        rtc: Some(Ports { base: 0x70, irq: 8 }),
        virtio_mmio: vec![
            VirtioMmio { base: 0xf000_1000, gsi: 17 },
            VirtioMmio { base: 0xf001_f000, gsi: 23 },
        ],
    }
}

pub(super) fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    u32::from_le_bytes(bytes[offset..offset + 4].try_into().unwrap())
}

pub(super) fn u64_at(bytes: &[u8], offset: usize) -> u64 {
    u64::from_le_bytes(bytes[offset..offset + 8].try_into().unwrap())
}

fn read(ram: &GuestRam, address: u64, size: usize) -> Vec<u8> {
    assert!(TABLES.contains(&address) && TABLES.contains(&(address + size as u64 - 1)), "{address:#x}");
    let mut bytes = vec![0; size];
    ram.read_slice(&mut bytes, GuestAddress(address)).unwrap();
    bytes
}

pub(super) fn sum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
}

fn read_table(ram: &GuestRam, address: u64) -> (String, Vec<u8>) {
    let length = u32_at(&read(ram, address, 8), 4) as usize;
    let bytes = read(ram, address, length);
    (String::from_utf8(bytes[..4].to_vec()).unwrap(), bytes)
}

/// All tables by signature, found as a guest finds them, with their checksums verified.
fn tables(description: &Description) -> BTreeMap<String, Vec<u8>> {
    let ram = ram();
    let rsdp = read(&ram, write(description, &ram).unwrap(), 36);
    assert!(rsdp.starts_with(b"RSD PTR "));
    assert_eq!((sum(&rsdp[..20]), sum(&rsdp)), (0, 0));
    let (signature, xsdt) = read_table(&ram, u64_at(&rsdp, 24));
    assert_eq!((signature.as_str(), sum(&xsdt)), ("XSDT", 0));
    let mut tables: BTreeMap<_, _> = xsdt[36..]
        .chunks_exact(8)
        .map(|entry| read_table(&ram, u64::from_le_bytes(entry.try_into().unwrap())))
        .collect();
    let (facs, dsdt) = (u64_at(&tables["FACP"], 132), u64_at(&tables["FACP"], 140));
    assert_eq!(facs % 64, 0);
    tables.extend([read_table(&ram, dsdt)]);
    for (signature, table) in &tables {
        assert_eq!(sum(table), 0, "{signature}");
    }
    tables.extend([read_table(&ram, facs)]);
    tables
}

#[test]
fn a_guest_finds_every_table() {
    let signatures = |description| tables(&description).into_keys().collect::<Vec<_>>().join(" ");
    assert_eq!(signatures(description(1)), "APIC DSDT FACP FACS MCFG SPCR");
    let bare = Description { pci: None, uart: None, rtc: None, virtio_mmio: vec![], ..description(1) };
    assert_eq!(signatures(bare), "APIC DSDT FACP FACS");
}

#[test]
fn the_fadt_names_the_fixed_hardware() {
    let fadt = &tables(&description(1))["FACP"];
    assert_eq!((fadt.len(), fadt[8], fadt[131]), (276, 6, 5));
    assert_eq!(&fadt[46..48], [9, 0]);
    assert_eq!([56, 64, 76].map(|offset| u32_at(fadt, offset)), [0x600, 0x604, 0x608]);
    assert_eq!(fadt[88..92], [4, 2, 0, 4]);
    assert_eq!(fadt[108], 0x32);
    // Legacy devices, no 8042, no VGA, no ASPM.
    assert_eq!(fadt[109..111], [0b1_0101, 0]);
    // WBINVD, PROC_C1, SLP_BUTTON, FIX_RTC, TMR_VAL_EXT, RESET_REG_SUP; the power button is fixed hardware.
    assert_eq!(u32_at(fadt, 112), 1 | 1 << 2 | 1 << 5 | 1 << 6 | 1 << 8 | 1 << 10);
    assert_eq!(fadt[116..129], [1, 8, 0, 1, 0x10, 6, 0, 0, 0, 0, 0, 0, 1]);
    assert_eq!(fadt[148..160], [1, 32, 0, 2, 0, 6, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn the_madt_has_every_interrupt_controller() {
    let madt = &tables(&description(2))["APIC"];
    assert_eq!((u32_at(madt, 36), u32_at(madt, 40)), (0xfee0_0000, 1));
    let mut expected = Vec::new();
    expected.extend([0, 8, 0, 0, 1, 0, 0, 0]);
    expected.extend([0, 8, 1, 1, 1, 0, 0, 0]);
    expected.extend([1, 12, 0, 0, 0, 0, 0xc0, 0xfe, 0, 0, 0, 0]);
    expected.extend([2, 10, 0, 0, 2, 0, 0, 0, 5, 0]);
    expected.extend([2, 10, 0, 9, 9, 0, 0, 0, 0xd, 0]);
    expected.extend([4, 6, 0xff, 0, 0, 1]);
    assert_eq!(madt[44..], expected);
}

#[test]
fn ids_from_255_on_have_x2apic_entries() {
    let apic_ids = vec![254, 255, 300];
    let madt = &tables(&Description { apic_ids, ..description(1) })["APIC"];
    let mut expected = vec![0, 8, 0, 254, 1, 0, 0, 0];
    expected.extend([9, 16, 0, 0, 255, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0]);
    expected.extend([9, 16, 0, 0, 44, 1, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0]);
    assert_eq!(madt[44..84], expected);
    assert!(madt.ends_with(&[0x0a, 12, 0, 0, 0xff, 0xff, 0xff, 0xff, 1, 0, 0, 0]));
}

#[test]
fn a_pit_on_its_own_pin_needs_no_override() {
    let madt = &tables(&Description { pit_gsi: 0, ..description(1) })["APIC"];
    assert!(!madt.windows(4).any(|bytes| bytes == [2, 10, 0, 0]));
}

#[test]
fn ecam_and_serial_port_are_told() {
    let tables = tables(&description(1));
    let (mcfg, spcr) = (&tables["MCFG"], &tables["SPCR"]);
    assert_eq!((mcfg.len(), u64_at(mcfg, 44), &mcfg[52..56]), (60, 0xe000_0000, &[0, 0, 0, 0][..]));
    assert_eq!((spcr.len(), spcr[36]), (80, 0));
    assert_eq!(spcr[40..54], [1, 8, 0, 1, 0xf8, 3, 0, 0, 0, 0, 0, 0, 3, 4]);
    assert_eq!((spcr[58], &spcr[64..68]), (7, &[0xff; 4][..]));
}

#[test]
fn tables_that_do_not_fit_are_refused() {
    let ram = ram();
    assert!(write(&description(64), &ram).is_ok());
    assert!(matches!(write(&description(20_000), &ram), Err(TablesError::TooLarge)));
    let virtio_mmio = vec![VirtioMmio { base: 0, gsi: 16 }; 5000];
    assert!(matches!(
        write(&Description { virtio_mmio, ..description(1) }, &ram),
        Err(TablesError::TooLarge)
    ));
}

/// Runs `iasl` in `directory`; `None` where it is not installed.
fn iasl(directory: &std::path::Path, arguments: &[&str]) -> Option<String> {
    let output = Command::new("iasl").args(arguments).current_dir(directory).output();
    let output = output.inspect_err(|e| eprintln!("SKIP iasl (package acpica-tools): {e}")).ok()?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    assert!(output.status.success(), "{text}");
    Some(text)
}

#[test]
fn the_reference_compiler_reads_all_tables() {
    read_by_iasl(tables(&description(4)).into_values().collect());
}

/// Has `tables` read by the reference compiler, if it is there.
pub(super) fn read_by_iasl(tables: Vec<Vec<u8>>) {
    let directory = tempfile::tempdir().unwrap();
    for table in tables {
        let signature = String::from_utf8(table[..4].to_vec()).unwrap();
        let name = signature.to_lowercase();
        std::fs::write(directory.path().join(format!("{name}.aml")), table).unwrap();
        let Some(text) = iasl(directory.path(), &["-d", &format!("{name}.aml")]) else { return };
        assert!(!text.contains("Invalid") && !text.contains("Error"), "{text}");
        let Some(text) = iasl(directory.path(), &["-ve", &format!("{name}.dsl")]) else { return };
        assert!(signature == "FACS" || text.contains("0 Errors"), "{text}");
        if std::env::var_os("HV_PRINT_TABLES").is_some() {
            println!(
                "{text}{}",
                std::fs::read_to_string(directory.path().join(format!("{name}.dsl"))).unwrap()
            );
        }
    }
}
