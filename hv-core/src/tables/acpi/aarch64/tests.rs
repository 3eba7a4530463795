//! The tables byte by byte where kernels look, and as the reference compiler reads them.

use super::*;
use crate::{
    arch::aarch64::affinity,
    tables::{
        acpi::tests::{read_by_iasl, sum, u32_at, u64_at},
        fdt::testing::description,
    },
};

fn machine() -> Description {
    Description {
        affinities: (0..18).map(affinity).collect(),
        virtio_mmio: vec![Window { base: 0x0d00_1000, size: 0x1000, spi: 17 }],
        ..description()
    }
}

fn all() -> Vec<Vec<u8>> {
    let machine = machine();
    vec![dsdt(&machine), fadt(0x1234_5678_9abc), madt(&machine), gtdt(), mcfg(&machine), spcr(&machine)]
}

#[test]
fn every_table_is_whole() {
    for table in all() {
        let signature = String::from_utf8_lossy(&table[..4]).into_owned();
        assert_eq!((u32_at(&table, 4) as usize, sum(&table)), (table.len(), 0), "{signature}");
    }
}

#[test]
fn the_fadt_says_hardware_reduced_and_psci_by_hvc() {
    let fadt = fadt(0x1234_5678_9abc);
    assert_eq!((fadt.len(), fadt[8], u32_at(&fadt, 112)), (276, 6, 1 << 20));
    assert_eq!((fadt[129], fadt[130], u64_at(&fadt, 140)), (3, 0, 0x1234_5678_9abc));
}

#[test]
fn the_madt_has_every_part_of_the_gic() {
    let madt = madt(&machine());
    let mut parts = Vec::new();
    let mut rest = &madt[44..];
    while let [kind, length, ..] = *rest {
        parts.push((kind, &rest[..length.into()]));
        rest = &rest[length.into()..];
    }
    let of = |wanted: u8| parts.iter().filter(move |part| part.0 == wanted).map(|part| part.1);
    let distributor = of(0x0c).next().unwrap();
    assert_eq!((u64_at(distributor, 8), distributor[20]), (0x0800_0000, 3));
    let cores: Vec<_> = of(0x0b).map(|core| (u32_at(core, 8), u32_at(core, 12), u64_at(core, 68))).collect();
    assert_eq!((cores.len(), cores[0], cores[17]), (18, (0, 1, 0), (17, 1, 0x101)));
    let redistributors = of(0x0e).next().unwrap();
    assert_eq!((u64_at(redistributors, 4), u32_at(redistributors, 12)), (0x0a00_0000, 18 * 0x2_0000));
    let frame = of(0x0d).next().unwrap();
    assert_eq!((u64_at(frame, 8), u32_at(frame, 16), u32_at(frame, 20)), (0x0801_0000, 1, 128 << 16 | 512));
    assert_eq!(parts.len(), 18 + 3);
}

#[test]
fn timers_ecam_and_console_are_told() {
    let gtdt = gtdt();
    assert_eq!(gtdt.len(), 104);
    assert_eq!(
        [48, 56, 64, 72].map(|at| (u32_at(&gtdt, at), u32_at(&gtdt, at + 4))),
        [(29, 4), (30, 4), (27, 4), (26, 4)]
    );
    let mcfg = mcfg(&machine());
    assert_eq!((mcfg.len(), u64_at(&mcfg, 44), &mcfg[52..56]), (60, 0x3f00_0000, &[0; 4][..]));
    let spcr = spcr(&machine());
    assert_eq!((spcr.len(), spcr[36]), (80, 3));
    assert_eq!(spcr[40..54], [0, 32, 0, 3, 0, 0, 0, 9, 0, 0, 0, 0, 8, 0]);
    assert_eq!(u32_at(&spcr, 54), 33);
}

#[test]
fn the_dsdt_names_every_device() {
    let dsdt = dsdt(&machine());
    let names: [&[u8]; 7] = [b"ACPI0007", b"ARMH0011", b"ARMH0061", b"LNRO0005", b"PWRB", b"_E03", b"_CCA"];
    for name in names {
        assert!(dsdt.windows(name.len()).any(|bytes| bytes == name), "{}", name.escape_ascii());
    }
    let bare = super::dsdt(&description());
    assert!(!bare.windows(8).any(|bytes| bytes == b"LNRO0005"));
}

#[test]
fn the_reference_compiler_reads_all_tables() {
    read_by_iasl(all());
}
