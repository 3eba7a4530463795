//! `Translation`: from a virtual address at EL0 or EL1 to a guest-physical one (Arm ARM, D8), to fetch the instruction that a
//! data abort is of when its syndrome does not say what it does.

/// The registers that control stage 1 of the EL1&0 translation regime.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Translation {
    /// `SCTLR_EL1`.
    pub control: u64,
    /// `TCR_EL1`.
    pub translation_control: u64,
    /// `TTBR0_EL1`.
    pub lower_tables: u64,
    /// `TTBR1_EL1`.
    pub upper_tables: u64,
}

/// `SCTLR_EL1.M`: the MMU is on.
const MMU: u64 = 1;
/// `TCR_EL1.DS`: descriptors of 52-bit addresses, which are not read here.
const WIDE_DESCRIPTORS: u64 = 1 << 59;
/// The bit of a virtual address that chooses the tables.
const UPPER: u64 = 1 << 55;
/// Bits 47 to 0.
const ADDRESS: u64 = (1 << 48) - 1;
/// The smallest table is 64 bytes large.
const TABLE_BASE: u64 = ADDRESS & !63;
/// Descriptor types (Arm ARM, D8.3.1).
const TYPE: u64 = 3;
const BLOCK: u64 = 1;
const TABLE_OR_PAGE: u64 = 3;
const LAST_LEVEL: u32 = 3;

/// One half of the address space.
struct Half {
    tables: u64,
    /// log2 of the granule in bytes.
    granule: u32,
    /// Width of a virtual address in bits.
    width: u32,
}

impl Translation {
    /// The guest-physical address of `virtual_address`; `read` loads a descriptor. `None` if nothing is mapped there, or
    /// by tables of a kind that is not read here. Permissions are not looked at.
    pub fn translate(&self, virtual_address: u64, mut read: impl FnMut(u64) -> Option<u64>) -> Option<u64> {
        if self.control & MMU == 0 {
            return Some(virtual_address);
        }
        let half = self.half(virtual_address)?;
        let mask = (1_u64 << half.width) - 1;
        let extension = if virtual_address & UPPER == 0 { 0 } else { !mask };
        if virtual_address & !mask != extension {
            return None;
        }
        let address = virtual_address & mask;
        // A table fills a granule with descriptors of 8 bytes.
        let stride = half.granule - 3;
        let levels = (half.width - half.granule).div_ceil(stride);
        let mut base = half.tables & TABLE_BASE;
        for level in (LAST_LEVEL + 1).checked_sub(levels)?..=LAST_LEVEL {
            let shift = half.granule + stride * (LAST_LEVEL - level);
            let index = address >> shift & ((1 << stride) - 1);
            let descriptor = read(base.checked_add(index * 8)?)?;
            let within = (1_u64 << shift) - 1;
            match descriptor & TYPE {
                TABLE_OR_PAGE if level < LAST_LEVEL => {
                    base = descriptor & ADDRESS & !((1 << half.granule) - 1);
                }
                TABLE_OR_PAGE => return Some(descriptor & ADDRESS & !within | address & within),
                BLOCK if level < LAST_LEVEL && level > 0 => {
                    return Some(descriptor & ADDRESS & !within | address & within);
                }
                _ => return None,
            }
        }
        None
    }

    fn half(&self, virtual_address: u64) -> Option<Half> {
        let control = self.translation_control;
        if control & WIDE_DESCRIPTORS != 0 {
            return None;
        }
        let (tables, fields, granule) = if virtual_address & UPPER == 0 {
            (self.lower_tables, control, [12, 16, 14, 0])
        } else {
            (self.upper_tables, control >> 16, [0, 14, 12, 16])
        };
        // EPDn: no walk.
        if fields & 1 << 7 != 0 {
            return None;
        }
        let granule = granule.into_iter().nth(usize::try_from(fields >> 14 & 3).ok()?)?;
        // TnSZ; 16 to 48 are the sizes that need no feature.
        let size = u32::try_from(fields & 0x3f).ok()?;
        let is_valid = granule != 0 && (16..=48).contains(&size) && 64 - size > granule;
        is_valid.then_some(Half { tables, granule, width: 64 - size })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// 48 bits of address in each half, 4 KiB below and 64 KiB above.
    const MIXED: Translation = Translation {
        control: MMU,
        translation_control: 16 | 16 << 16 | 3 << 30,
        lower_tables: 0x1000,
        upper_tables: 0x10_0000 | 1,
    };

    fn walk(translation: &Translation, tables: &[(u64, u64)], address: u64) -> Option<u64> {
        let tables: BTreeMap<u64, u64> = tables.iter().copied().collect();
        translation.translate(address, |at| tables.get(&at).copied())
    }

    #[test]
    fn without_an_mmu_an_address_is_itself() {
        let off = Translation { control: 0, ..MIXED };
        assert_eq!(walk(&off, &[], 0xdead_beef), Some(0xdead_beef));
    }

    #[test]
    fn four_levels_of_4_kib() {
        let tables = [(0x1000, 0x2003), (0x2008, 0x3003), (0x3010, 0x4003), (0x4018, 0x8000_5403)];
        let address = 1 << 30 | 2 << 21 | 3 << 12 | 0x123;
        assert_eq!(walk(&MIXED, &tables, address), Some(0x8000_5123));
        assert_eq!(walk(&MIXED, &tables, address + 0x1000), None);
        assert_eq!(walk(&MIXED, &tables, address | 1 << 50), None, "beyond 48 bits");
    }

    #[test]
    fn a_block_ends_the_walk() {
        let tables = [(0x1000, 0x2003), (0x2008, 0x4000_0701)];
        assert_eq!(walk(&MIXED, &tables, 0x7654_3210), Some(0x7654_3210));
        assert_eq!(walk(&MIXED, &[(0x1000, 0x4000_0701)], 0), None, "none at level 0");
    }

    #[test]
    fn three_levels_of_64_kib_in_the_upper_half() {
        let tables =
            [(0x10_01f8, 0x20_0003), (0x20_fff8, 0x30_0003), (0x30_0008, 0x000f_8000_4003 & !0xf000 | 3)];
        let address = !0_u64 << 29 | 1 << 16 | 0x4567;
        assert_eq!(walk(&MIXED, &tables, address), Some(0x000f_8000_4567));
    }

    #[test]
    fn a_narrow_half_begins_at_a_lower_level() {
        // 39 bits, 4 KiB: level 1; 36 bits, 16 KiB: level 2.
        let small = Translation { translation_control: 25, ..MIXED };
        assert_eq!(walk(&small, &[(0x1010, 0x8000_0401)], 0x8000_1234), Some(0x8000_1234));
        let large = Translation { translation_control: 28 | 2 << 14, ..MIXED };
        assert_eq!(walk(&large, &[(0x1008, 0x600_0401)], 0x212_3456), Some(0x612_3456));
    }

    proptest! {
        #[test]
        fn any_tables_end(control: u64, fields: u64, lower: u64, upper: u64, at: u64, descriptor: u64) {
            let translation = Translation {
                control,
                translation_control: fields,
                lower_tables: lower,
                upper_tables: upper,
            };
            let mut reads = 0;
            let _ = translation.translate(at, |_| {
                reads += 1;
                Some(descriptor)
            });
            prop_assert!(reads <= 4);
        }
    }
}
