//! What of the guest's free memory the host can take: whole granules of it. Pure arithmetic.

use std::{collections::BTreeMap, ops::Range};

/// Bytes of a page as drivers count them, whatever the guest's own pages are (5.5.6).
pub(super) const PAGE: u64 = 4096;

/// Brings `ranges` of addresses into order, joins those that touch, and cuts them to whole granules.
pub(super) fn whole_granules(ranges: &mut Vec<Range<u64>>, granule: u64) {
    ranges.sort_unstable_by_key(|range| range.start);
    ranges.dedup_by(|next, previous| {
        let joined = next.start <= previous.end;
        if joined {
            previous.end = previous.end.max(next.end);
        }
        joined
    });
    for range in &mut *ranges {
        let start = range.start.checked_next_multiple_of(granule).unwrap_or(u64::MAX);
        *range = start..range.end / granule * granule;
    }
    ranges.retain(|range| range.start < range.end);
}

/// Pages for which the bits of a chunk stand: those of 2 MiB.
const CHUNK_PAGES: u64 = 512;

/// Which pages are in the balloon, as far as the host's granule makes it necessary to know: where that is larger than a
/// page, it can be given back only when the last of its pages comes in. At most a bit for each page of RAM, and some.
#[derive(Debug)]
pub(super) struct Inflated {
    granule: u64,
    chunks: BTreeMap<u64, [u64; 8]>,
}

impl Inflated {
    /// An empty balloon on a host with this granule in bytes, a power of two.
    pub(super) fn new(granule: u64) -> Self {
        Self { granule, chunks: BTreeMap::new() }
    }

    /// Page number `page`, of RAM, comes in; the granule, as addresses, whose pages are all in now.
    pub(super) fn insert(&mut self, page: u32) -> Option<Range<u64>> {
        let (page, pages) = (u64::from(page), self.granule / PAGE);
        let start = page * PAGE / self.granule * self.granule;
        let granule = start..start + self.granule;
        if pages <= 1 {
            return Some(page * PAGE..(page + 1) * PAGE);
        }
        let chunk = self.chunks.entry(page / CHUNK_PAGES).or_default();
        if let Some((word, bit)) = place(chunk, page) {
            *word |= bit;
        }
        let mut within = granule.clone().step_by(4096).map(|address| address / PAGE);
        let whole = pages <= CHUNK_PAGES
            && within.all(|page| place(chunk, page).is_some_and(|(word, bit)| *word & bit != 0));
        whole.then_some(granule)
    }

    /// Page number `page` goes out.
    pub(super) fn remove(&mut self, page: u32) {
        let (page, number) = (u64::from(page), u64::from(page) / CHUNK_PAGES);
        let Some(chunk) = self.chunks.get_mut(&number) else { return };
        if let Some((word, bit)) = place(chunk, page) {
            *word &= !bit;
        }
        if *chunk == [0; 8] {
            self.chunks.remove(&number);
        }
    }
}

/// The bit of `page` in its chunk.
fn place(chunk: &mut [u64; 8], page: u64) -> Option<(&mut u64, u64)> {
    let index = usize::try_from(page % CHUNK_PAGES / 64).ok()?;
    Some((chunk.get_mut(index)?, 1 << (page % 64)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn addresses(ranges: &[Range<u64>]) -> BTreeSet<u64> {
        ranges.iter().flat_map(Clone::clone).collect()
    }

    #[test]
    fn the_ends_of_the_address_space_are_no_trouble() {
        let mut ranges = vec![u64::MAX - 4096..u64::MAX, 0..1, 1..4096];
        whole_granules(&mut ranges, 4096);
        assert_eq!(ranges, std::slice::from_ref(&(0..4096)));
        let mut inflated = Inflated::new(16 << 10);
        assert!((0..3).all(|n| inflated.insert(u32::MAX - n).is_none()));
        let end = (u64::from(u32::MAX) + 1) * PAGE;
        assert_eq!(inflated.insert(u32::MAX - 3), Some(end - 4 * PAGE..end));
    }

    proptest! {
        #[test]
        fn whole_granules_are_those_of_which_all_is_there(
            parts in prop::collection::vec((0_u64..200, 0_u64..40), 0..12),
            shift in 0_u32..5,
        ) {
            let granule = 1 << shift;
            let mut ranges: Vec<_> = parts.iter().map(|(start, len)| *start..start + len).collect();
            let all = addresses(&ranges);
            whole_granules(&mut ranges, granule);
            let expected: BTreeSet<u64> = (0..300)
                .filter(|at| (0..granule).all(|n| all.contains(&(at / granule * granule + n))))
                .collect();
            prop_assert_eq!(addresses(&ranges), expected);
            prop_assert!(ranges.windows(2).all(|pair| pair[0].end < pair[1].start));
        }

        #[test]
        fn a_granule_is_whole_when_all_its_pages_are_in(
            steps in prop::collection::vec((any::<bool>(), 500_u32..530), 1..300),
            shift in 0_u32..6,
        ) {
            let (mut inflated, mut model) = (Inflated::new(PAGE << shift), BTreeSet::new());
            for (comes, page) in steps {
                if comes {
                    model.insert(page);
                    let first = page >> shift << shift;
                    let whole = (first..first + (1 << shift)).all(|page| model.contains(&page));
                    let range = u64::from(first) * PAGE..(u64::from(first) + (1 << shift)) * PAGE;
                    prop_assert_eq!(inflated.insert(page), whole.then_some(range));
                } else {
                    model.remove(&page);
                    inflated.remove(page);
                }
            }
        }
    }
}
