//! Tests of the CPUID that a core gets.

use super::*;

fn leaf(function: u32, [eax, ebx, ecx, edx]: [u32; 4]) -> Entry {
    Entry { function, eax, ebx, ecx, edx, ..Default::default() }
}

fn vendor(last: u32, name: &[u8; 12]) -> Entry {
    let word = |at: usize| u32::from_le_bytes(name[at..at + 4].try_into().unwrap());
    leaf(0, [last, word(0), word(8), word(4)])
}

fn intel() -> Vec<Entry> {
    vec![
        vendor(0x1f, b"GenuineIntel"),
        leaf(1, [0x806f8, 0x1234_0800, 1 << 5, 0x1f8b_fbff]),
        leaf(4, [0x7c00_4121, 0, 0, 0]),
        Entry { index: 3, ..leaf(4, [0x7c0f_c163, 0, 0, 0]) },
        Entry { index: 4, ..leaf(4, [0; 4]) },
        leaf(0xb, [7, 7, 7, 7]),
        leaf(0x15, [1, 1, 1, 0]),
        leaf(0x4000_0000, [0x4000_0001, 0x4b4d_564b, 0x564b_4d56, 0x4d]),
        leaf(0x8000_0008, [0x2e34, 0, 0, 0]),
    ]
}

fn amd() -> Vec<Entry> {
    vec![
        vendor(0x10, b"AuthenticAMD"),
        leaf(1, [0xa20f12, 0, 0, 0]),
        leaf(0x8000_0001, [0, 0, 1 << 2 | 1 << 22, 0]),
        leaf(0x8000_0008, [0x3030, 0, 0xf00f, 0]),
        Entry { index: 3, ..leaf(0x8000_001d, [0x1c163, 0, 0, 0]) },
        leaf(0x8000_001e, [9, 0x104, 0x300, 0]),
        leaf(0x8000_0026, [1, 1, 1, 1]),
    ]
}

fn find(leaves: &[Entry], function: u32, index: u32) -> Option<[u32; 4]> {
    let found = leaves.iter().find(|entry| entry.function == function && entry.index == index);
    found.map(|entry| [entry.eax, entry.ebx, entry.ecx, entry.edx])
}

#[test]
fn a_core_has_its_index_as_apic_id_and_one_thread() {
    let leaves = for_core(&intel(), Place { index: 5, count: 6 }, None);
    let [_, ebx, ecx, edx] = find(&leaves, 1, 0).unwrap();
    assert_eq!((ebx >> 24, ebx >> 16 & 0xff, ebx & 0xffff), (5, 8, 0x0800));
    assert_eq!((ecx >> 31, ecx >> 24 & 1, ecx >> 5 & 1, edx >> 28 & 1), (1, 1, 0, 1));
    for function in [0xb, 0x1f] {
        assert_eq!(find(&leaves, function, 0), Some([0, 1, 0x100, 5]));
        assert_eq!(find(&leaves, function, 1), Some([3, 6, 0x201, 5]));
        assert_eq!(find(&leaves, function, 2), Some([0, 0, 2, 5]));
    }
}

#[test]
fn caches_of_the_third_level_are_shared() {
    let leaves = for_core(&intel(), Place { index: 0, count: 6 }, None);
    assert_eq!(find(&leaves, 4, 0).unwrap()[0], 7 << 26 | 0x121);
    assert_eq!(find(&leaves, 4, 3).unwrap()[0], 7 << 26 | 7 << 14 | 0x163);
    assert_eq!(find(&leaves, 4, 4).unwrap()[0], 0);
}

#[test]
fn one_core_alone_has_no_topology_bits() {
    let leaves = for_core(&intel(), Place { index: 0, count: 1 }, None);
    let [_, ebx, _, edx] = find(&leaves, 1, 0).unwrap();
    assert_eq!((ebx >> 16 & 0xff, edx >> 28 & 1), (1, 0));
    assert_eq!(find(&leaves, 0xb, 1), Some([0, 1, 0x201, 0]));
}

#[test]
fn amd_tells_cores_in_its_own_leaves() {
    let leaves = for_core(&amd(), Place { index: 2, count: 4 }, Some(3_000_000));
    assert_eq!(find(&leaves, 0x8000_0008, 0).unwrap()[2], 0x2003);
    assert_eq!(find(&leaves, 0x8000_001e, 0), Some([2, 2, 0, 0]));
    assert_eq!(find(&leaves, 0x8000_001d, 3).unwrap()[0], 3 << 14 | 0x163);
    assert_eq!(find(&leaves, 0x8000_0001, 0).unwrap()[2], 1 << 22 | 1 << 1);
    assert_eq!(find(&leaves, 0x8000_0026, 0), None);
    assert_eq!(find(&leaves, 0x15, 0), None, "not a leaf of AMD's");
    assert_eq!(find(&leaves, 0xb, 1), Some([2, 4, 0x201, 2]));
}

#[test]
fn the_largest_number_of_cores_does_not_overflow_a_field() {
    for place in [Place { index: 254, count: 255 }, Place { index: 0, count: 255 }] {
        for leaves in [for_core(&intel(), place, None), for_core(&amd(), place, None)] {
            let [_, ebx, ..] = find(&leaves, 1, 0).unwrap();
            assert_eq!((ebx >> 24, ebx >> 16 & 0xff), (place.index, 255));
        }
    }
}

#[test]
fn the_tsc_frequency_is_told_without_loss() {
    let leaves = for_core(&intel(), Place { index: 0, count: 1 }, Some(2_394_374));
    assert_eq!(find(&leaves, 0x4000_0010, 0), Some([2_394_374, 1_000_000, 0, 0]));
    assert_eq!(find(&leaves, 0x4000_0000, 0).unwrap()[0], 0x4000_0010);
    assert_eq!(find(&leaves, 0x16, 0), Some([2394, 2394, 100, 0]));
    for khz in [1_000_000, 1_999_999, 2_394_374, 2_893_202, 3_700_001, 4_200_000, 800_000] {
        let [denominator, numerator, hertz, _] = tsc_frequency(khz).into_registers();
        // As Linux computes it, in 32 bits.
        let told = (hertz / 1000).checked_mul(numerator).unwrap() / denominator;
        assert!(told.abs_diff(khz) <= khz / 500_000, "{khz} became {told}");
    }
}

#[test]
fn a_silent_processor_has_36_bits_of_address() {
    assert_eq!(physical_address_bits(&intel()), 0x34);
    assert_eq!(physical_address_bits(&[]), 36);
    assert_eq!(physical_address_bits(&[leaf(0x8000_0008, [0; 4])]), 36);
}

trait Registers {
    fn into_registers(self) -> [u32; 4];
}

impl Registers for Entry {
    fn into_registers(self) -> [u32; 4] {
        [self.eax, self.ebx, self.ecx, self.edx]
    }
}
