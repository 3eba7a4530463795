//! `Deadlines`: when to look at which flow, although nothing happens to it.

use std::{cmp::Reverse, collections::BinaryHeap, time::Instant};

/// When to look at which flow. A flow has at most one entry that counts: the time that it remembers itself. Later
/// wishes cost nothing, since a look that is too early makes a new entry.
#[derive(Debug, Default)]
pub(crate) struct Deadlines(BinaryHeap<Reverse<(Instant, usize)>>);

impl Deadlines {
    /// Sees to it that `slot` is looked at by `at`; `planned` is when it is going to be.
    pub(crate) fn plan(&mut self, slot: usize, at: Instant, planned: &mut Option<Instant>) {
        if planned.is_none_or(|planned| at < planned) {
            *planned = Some(at);
            self.0.push(Reverse((at, slot)));
        }
    }

    /// The first time of all.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.0.peek().map(|Reverse((at, _))| *at)
    }

    /// The next flow whose time has come, and that time.
    pub(crate) fn due(&mut self, now: Instant) -> Option<(usize, Instant)> {
        let Reverse((at, slot)) = *self.0.peek()?;
        (at <= now).then(|| {
            self.0.pop();
            (slot, at)
        })
    }

    /// How many entries there are, with those that count no more.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Forgets the entries that do not count.
    pub(crate) fn keep(&mut self, mut counts: impl FnMut(usize, Instant) -> bool) {
        self.0.retain(|Reverse((at, slot))| counts(*slot, *at));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn an_earlier_wish_is_heard_and_a_later_one_costs_nothing() {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let (mut deadlines, mut planned) = (Deadlines::default(), None);
        deadlines.plan(7, start + second * 5, &mut planned);
        deadlines.plan(7, start + second * 9, &mut planned);
        assert_eq!((deadlines.len(), deadlines.next()), (1, Some(start + second * 5)));
        deadlines.plan(7, start + second, &mut planned);
        assert_eq!((planned, deadlines.due(start)), (Some(start + second), None));
        assert_eq!(deadlines.due(start + second), Some((7, start + second)));
        deadlines.keep(|slot, at| slot == 7 && Some(at) == planned);
        assert_eq!(deadlines.next(), None);
    }
}
