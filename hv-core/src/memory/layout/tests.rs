//! What a layout keeps to, for any size, hole and limit.

use proptest::prelude::*;

use super::*;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const HOLE: Range<u64> = 3 * GIB..4 * GIB;
const LIMIT: u64 = 448 * GIB;

fn ranges(size: u64) -> Vec<Range<u64>> {
    RamLayout::new(size, HOLE, LIMIT).unwrap().ranges().to_vec()
}

#[test]
fn ram_goes_around_the_hole() {
    assert!(ranges(MIB).into_iter().eq([Range { start: 0, end: MIB }]));
    assert!(ranges(3 * GIB).into_iter().eq([Range { start: 0, end: 3 * GIB }]));
    assert_eq!(ranges(3 * GIB + MIB), [0..3 * GIB, 4 * GIB..4 * GIB + MIB]);
    assert_eq!(ranges(447 * GIB), [0..3 * GIB, 4 * GIB..448 * GIB]);
}

#[test]
fn what_does_not_fit_names_the_value_and_the_cure() {
    let error = |size| RamLayout::new(size, HOLE, LIMIT).unwrap_err().to_string();
    assert_eq!(error(0), "a guest cannot run with 0 bytes of memory: give it --memory 512M or so");
    assert_eq!(error(MIB + 1), "memory of 1048577 bytes is no multiple of 64 KiB: round it to whole MiB");
    assert_eq!(
        error(512 * GIB),
        "memory of 524288 MiB is more than this machine can address: give at most --memory 457728M"
    );
}

proptest! {
    #[test]
    fn a_layout_holds_exactly_the_ram_asked_for(
        size in any::<u64>(),
        start in any::<u64>(),
        hole_size in any::<u64>(),
        limit in any::<u64>(),
    ) {
        let granules = |value: u64| value / GRANULE * GRANULE;
        let (size, start, limit) = (granules(size), granules(start), granules(limit));
        let hole = start..granules(start.saturating_add(hole_size));
        match RamLayout::new(size, hole.clone(), limit) {
            Ok(layout) => {
                prop_assert_eq!(layout.size(), size);
                let mut free_from = 0;
                for range in layout.ranges() {
                    prop_assert!(range.start >= free_from && range.start < range.end && range.end <= limit);
                    prop_assert!(range.end <= hole.start || range.start >= hole.end);
                    prop_assert_eq!((range.end - range.start) % GRANULE, 0);
                    free_from = range.end;
                }
            }
            Err(LayoutError::TooLarge { most, .. }) => {
                prop_assert!(most < size);
                prop_assert!(most == 0 || RamLayout::new(most, hole, limit).is_ok());
            }
            Err(LayoutError::Empty) => prop_assert_eq!(size, 0),
            Err(LayoutError::Granule(_)) => prop_assert!(false, "sizes are multiples here"),
        }
    }

    #[test]
    fn any_size_is_answered(size in any::<u64>()) {
        let _ = RamLayout::new(size, HOLE, LIMIT);
    }
}
